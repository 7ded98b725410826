"""What channels last costs a residual block on a processor, by its group norms (`make bench`)."""

import torch
from timing import alternating

from emo_core.models.layers import ResnetBlock

WIDTH = 64
IMAGES = 24


def test_a_residual_block_channels_last_against_plain() -> None:
    torch.manual_seed(0)
    images = torch.randn(IMAGES, WIDTH, 16, 16)
    time_embedding = torch.randn(IMAGES, 4 * WIDTH)
    plain = ResnetBlock(WIDTH, WIDTH, time_dim=4 * WIDTH, norm_num_groups=16)
    packed = ResnetBlock(WIDTH, WIDTH, time_dim=4 * WIDTH, norm_num_groups=16)
    packed.load_state_dict(plain.state_dict())
    packed.to(memory_format=torch.channels_last)
    packed_images = images.contiguous(memory_format=torch.channels_last)

    def lesson(block: ResnetBlock, seen: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            # PyTorch 2.11 crashes where what goes into a packed group norm needs no gradient.
            answer = block(seen.detach().requires_grad_(), time_embedding)
        answer.backward(torch.ones_like(answer))
        return answer

    seconds = alternating(
        {
            "plain": lambda: lesson(plain, images),
            "channels last": lambda: lesson(packed, packed_images),
        }
    )
    print(f"\na lesson of a residual block on {torch.get_num_threads()} threads")
    for name, value in seconds.items():
        ratio = seconds["channels last"] / value
        print(f"  {name}: {value * 1000:.1f} ms, {ratio:.2f} times as fast as channels last")
    torch.testing.assert_close(
        lesson(packed, packed_images).contiguous(), lesson(plain, images), atol=0.05, rtol=0.02
    )
