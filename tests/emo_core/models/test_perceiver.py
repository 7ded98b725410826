"""V-Express' audio projection, against what its own code computes."""

import pytest
import torch
from parity_kit import kit

from emo_core.audio.rows import cut_windows
from emo_core.config import AudioConfig, PerceiverConfig
from emo_core.models.perceiver import PerceiverProjection

AUDIO = AudioConfig(
    timing="after_encoder",
    num_layers=1,
    rows_per_frame=2,
    is_padded_by_zeros=True,
    projection="perceiver",
    perceiver=PerceiverConfig(),
    num_tokens=5,
)


def projection() -> PerceiverProjection:
    network = PerceiverProjection(AUDIO).eval()
    network.load_state_dict(kit("vexpress").files["audio_projection.bin"])
    return network


@torch.no_grad()
def test_tokens_equal_upstream() -> None:
    expected = kit("vexpress").expected
    rows_RLD = expected["audio_interpolated"][:, None]
    windows = cut_windows(rows_RLD, torch.arange(44), audio=AUDIO, fps=30.0)
    stored = windows[expected["frames_stored"], :, 0]
    assert torch.equal(stored, expected["audio_windows"])
    tokens = projection()(windows[None])[0]
    assert torch.allclose(tokens, expected["audio_tokens"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_frames_and_conditions_do_not_see_each_other() -> None:
    network, windows = projection(), torch.randn(2, 3, 10, 1, 768)
    together = network(windows)
    for condition in range(2):
        for frame in range(3):
            alone = network(windows[condition, frame][None, None])[0, 0]
            assert torch.allclose(together[condition, frame], alone, atol=1e-5)


@torch.no_grad()
def test_rows_have_places() -> None:
    network, windows = projection(), torch.randn(1, 1, 10, 1, 768)
    assert (network(windows) - network(windows.flip(2))).abs().max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_bare_parameters_follow_the_type_of_the_input(dtype: torch.dtype) -> None:
    network, windows = projection(), torch.randn(1, 2, 10, 1, 768)
    whole = network(windows)
    for layer in network.modules():
        if isinstance(layer, (torch.nn.Linear, torch.nn.LayerNorm)):
            layer.to(dtype)
    tokens = network(windows.to(dtype))
    assert tokens.dtype == dtype
    assert torch.allclose(tokens.float(), whole, atol=0.2 if dtype == torch.bfloat16 else 1e-4)
