"""The temporal module against diffusers' AnimateDiff transformer, and its own promises."""

import torch
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D

from emo_core.config import TemporalConfig
from emo_core.models.temporal import TemporalTransformer, sinusoidal_positions

WIDTH, HEADS, GROUPS = 32, 4, 8
FRAMES = 6

DIFFUSERS_NAMES = {
    "attention_blocks.0.": "attn1.",
    "attention_blocks.1.": "attn2.",
    "norms.0.": "norm1.",
    "norms.1.": "norm2.",
    "ff_norm.": "norm3.",
}


def transformer(*, speed_dim: int | None = None, seed: int = 0) -> TemporalTransformer:
    torch.manual_seed(seed)
    return TemporalTransformer(
        WIDTH,
        TemporalConfig(),
        num_heads=HEADS,
        norm_num_groups=GROUPS,
        speed_dim=speed_dim,
    ).eval()


class NormPerFrame(torch.nn.GroupNorm):
    """AnimateDiff and Hallo normalise every frame by itself, diffusers a clip as one volume.

    (Hallo, `hallo/models/motion_module.py`: rearrange "b c f h w -> (b f) c h w" before norm.)
    """

    def forward(self, hidden_BCFHW: torch.Tensor) -> torch.Tensor:
        frames = super().forward(hidden_BCFHW.transpose(1, 2).flatten(0, 1))
        return frames.unflatten(0, (-1, hidden_BCFHW.shape[2])).transpose(1, 2)


def diffusers_twin(ours: TemporalTransformer) -> AnimateDiffTransformer3D:
    twin = AnimateDiffTransformer3D(
        num_attention_heads=HEADS,
        attention_head_dim=WIDTH // HEADS,
        in_channels=WIDTH,
        norm_num_groups=GROUPS,
        activation_fn="geglu",
        double_self_attention=True,
        positional_embeddings="sinusoidal",
        num_positional_embeddings=32,
    ).eval()
    twin.norm = NormPerFrame(GROUPS, WIDTH, eps=1e-6)
    state = twin.state_dict()
    for key, value in ours.state_dict().items():
        for name, theirs in DIFFUSERS_NAMES.items():
            key = key.replace(name, theirs)
        assert key in state, key
        state[key] = value
    twin.load_state_dict(state)
    return twin


@torch.no_grad()
def test_equals_animatediff() -> None:
    ours = transformer()
    hidden = torch.randn(2 * FRAMES, WIDTH, 3, 5)
    conditions = ours.prepare(None, speed_tokens_BFD=None, speed_weight=1.0)
    result = ours(hidden, conditions, num_frames=FRAMES)
    expected = diffusers_twin(ours)(hidden, num_frames=FRAMES)
    assert (result - expected).abs().max() <= 1e-5
    assert (result - hidden).abs().max() > 0.1


@torch.no_grad()
def test_motion_frames_stand_in_front_like_frames() -> None:
    """Motion frames whose features equal frames give what a longer clip gives behind them."""
    ours = transformer()
    whole = torch.randn(2, FRAMES, WIDTH, 3, 5)
    motion = whole[:, :2].flatten(3).transpose(2, 3)  # B M L C
    conditions = ours.prepare(motion, speed_tokens_BFD=None, speed_weight=1.0)
    led = ours(whole[:, 2:].flatten(0, 1), conditions, num_frames=FRAMES - 2)
    plain = ours.prepare(None, speed_tokens_BFD=None, speed_weight=1.0)
    longer = ours(whole.flatten(0, 1), plain, num_frames=FRAMES)
    assert torch.allclose(led, longer.unflatten(0, (2, FRAMES))[:, 2:].flatten(0, 1), atol=1e-5)
    alone = ours(whole[:, 2:].flatten(0, 1), plain, num_frames=FRAMES - 2)
    assert (led - alone).abs().max() > 1e-3


@torch.no_grad()
def test_one_pixel_of_zeros_stands_for_a_zero_map() -> None:
    ours = transformer()
    hidden = torch.randn(FRAMES, WIDTH, 3, 5)
    results = []
    for pixels in (1, 15):
        zeros = torch.zeros(1, 2, pixels, WIDTH)
        conditions = ours.prepare(zeros, speed_tokens_BFD=None, speed_weight=1.0)
        results.append(ours(hidden, conditions, num_frames=FRAMES))
    assert torch.allclose(*results, atol=1e-6)


@torch.no_grad()
def test_speed_weight_of_zero_leaves_the_speed_layer_out() -> None:
    ours = transformer(speed_dim=16)
    hidden = torch.randn(FRAMES, WIDTH, 3, 5)
    tokens = torch.randn(1, FRAMES, 16)
    without = ours.prepare(None, speed_tokens_BFD=None, speed_weight=1.0)
    expected = ours(hidden, without, num_frames=FRAMES)
    for weight, is_equal in ((0.0, True), (1.0, False)):
        conditions = ours.prepare(None, speed_tokens_BFD=tokens, speed_weight=weight)
        result = ours(hidden, conditions, num_frames=FRAMES)
        assert torch.equal(result, expected) == is_equal


def test_positions_are_the_usual_sinusoid() -> None:
    table = sinusoidal_positions(3, 4, like=torch.empty(1))
    assert torch.allclose(table[0], torch.tensor([0.0, 1.0, 0.0, 1.0]))
    angle = torch.tensor([2.0, 2.0 * 10000 ** (-0.5)])
    expected = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten()
    assert torch.allclose(table[2], expected)
