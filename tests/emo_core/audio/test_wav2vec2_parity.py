"""Rows from wav2vec2, against what Hallo's and V-Express' own code computes."""

from functools import cache

import pytest
import torch
from parity_kit import kit
from torch import Tensor

from emo_core.audio import rows as rows_module
from emo_core.audio.encoder import Wav2Vec2Encoder, encode_sound, normalized
from emo_core.audio.rows import cut_windows, encode_rows
from emo_core.audio.timing import whole_clips
from emo_core.audio.wav2vec2 import aligned_positions, build, interpolated
from emo_core.audio.windows import windows_around_frames
from emo_core.config import AudioConfig, PerceiverConfig
from emo_core.errors import InputError
from emo_core.models.audio import AudioProjection

HALLO = AudioConfig(timing="before_encoder")
V_EXPRESS = AudioConfig(
    timing="after_encoder",
    num_layers=1,
    rows_per_frame=2,
    is_padded_by_zeros=True,
    projection="perceiver",
    perceiver=PerceiverConfig(),
    num_tokens=5,
)
EMO = AudioConfig()
PARITY = {"atol": 1e-4, "rtol": 0.0}


@cache
def encoder(name: str, file: str) -> Wav2Vec2Encoder:
    return Wav2Vec2Encoder(build(kit(name).files[file], name=name))


def hallo_encoder() -> Wav2Vec2Encoder:
    return encoder("hallo", "wav2vec2")


def v_express_encoder() -> Wav2Vec2Encoder:
    return encoder("vexpress", "wav2vec2-base-960h/model.safetensors")


def v_express_sound() -> Tensor:
    return kit("vexpress").inputs["audio_waveform_i16"].float() / 32768.0


@cache
def hallo_rows() -> Tensor:
    return encode_rows(
        hallo_encoder(),
        kit("hallo").inputs["audio.waveform"],
        HALLO,
        fps=25.0,
        num_frames=11,
        clip_frames=4,
    )


@cache
def v_express_rows() -> Tensor:
    return encode_rows(
        v_express_encoder(),
        v_express_sound(),
        V_EXPRESS,
        fps=kit("vexpress").expected["output_fps"].item(),
        num_frames=44,
        clip_frames=24,
    )


def test_hallo_fills_up_after_normalising() -> None:
    inputs, expected = kit("hallo").inputs, kit("hallo").expected
    waveform = inputs["audio.waveform"]
    num_zeros = whole_clips(len(waveform), fps=25.0, clip_frames=4).num_zeros
    heard = torch.nn.functional.pad(normalized(waveform), (0, num_zeros))
    assert torch.allclose(heard, expected["audio.normalised"], **PARITY)


@torch.no_grad()
def test_hallo_interpolates_the_convolutions_features() -> None:
    expected = kit("hallo").expected
    features = hallo_encoder().model.feature_extractor(expected["audio.normalised"][None])
    features = features.transpose(1, 2)
    found = interpolated(features, aligned_positions(features.shape[1], 12))[0]
    assert torch.allclose(found, expected["audio.conv_interpolated"], **PARITY)


def test_hallo_rows() -> None:
    assert torch.allclose(hallo_rows(), kit("hallo").expected["audio.hidden"], **PARITY)


def test_hallo_windows() -> None:
    expected = kit("hallo").expected
    numbers = torch.arange(12.0)[:, None, None]
    index = cut_windows(numbers, torch.arange(12), audio=HALLO, fps=25.0)
    assert index[..., 0, 0].tolist() == expected["audio.window_index"].tolist()


@torch.no_grad()
def test_hallo_tokens() -> None:
    network = AudioProjection(HALLO).eval()
    state = kit("hallo").files["net.pth"]
    prefix = "audioproj."
    network.load_state_dict(
        {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
    )
    windows = cut_windows(hallo_rows(), torch.arange(12), audio=HALLO, fps=25.0)
    tokens = network(windows[None])[0]
    assert torch.allclose(tokens, kit("hallo").expected["audio.tokens"], **PARITY)


def test_v_express_normalises() -> None:
    found = normalized(v_express_sound())[None]
    assert torch.allclose(found, kit("vexpress").expected["audio_input_values"], **PARITY)


@torch.no_grad()
def test_v_express_last_layer() -> None:
    expected = kit("vexpress").expected
    found = v_express_encoder().hidden_states(expected["audio_input_values"])[:, :, -1]
    assert torch.allclose(found, expected["audio_last_hidden"], **PARITY)


def test_v_express_rows() -> None:
    found = v_express_rows()
    assert found.shape == (88, 1, 768)
    assert torch.allclose(found[:, 0], kit("vexpress").expected["audio_interpolated"], **PARITY)


def test_v_express_windows() -> None:
    expected = kit("vexpress").expected
    frames = expected["frames_stored"]
    windows = cut_windows(v_express_rows(), frames, audio=V_EXPRESS, fps=25.4)
    assert torch.allclose(windows[:, :, 0], expected["audio_windows"], **PARITY)
    assert (windows[0, :4] == 0).all() and (windows[-1, -4:] == 0).all()


def test_frames_past_the_end_hold_the_last() -> None:
    frames = torch.tensor([43, 44, 60])
    held = cut_windows(v_express_rows(), frames, audio=V_EXPRESS, fps=25.4)
    assert torch.equal(held[0], held[1]) and torch.equal(held[0], held[2])
    rows = torch.randn(20, 12, 768)
    held = cut_windows(rows, torch.tensor([19, 23]), audio=EMO, fps=25.0)
    assert torch.equal(held[0], held[1])
    whole = cut_windows(rows, torch.arange(20), audio=EMO, fps=25.0)
    assert torch.equal(whole, windows_around_frames(rows, margin=2))


def test_emo_hears_as_before() -> None:
    sound = kit("hallo").inputs["audio.waveform"]
    rows = encode_rows(hallo_encoder(), sound, EMO, fps=25.0, num_frames=11, clip_frames=12)
    wanted = torch.cat(list(encode_sound(hallo_encoder(), sound, fps=25.0, num_frames=11)))
    assert torch.equal(rows, wanted)
    assert rows.shape == (11, 12, 768)
    assert not torch.allclose(rows, hallo_rows()[:11], atol=0.1)


class Ears:
    """Stands for a wav2vec2 model that hears nothing but the step itself."""

    def hidden_states(self, waveform_BN: Tensor, position_R: Tensor | None = None) -> Tensor:
        features_BTC = waveform_BN.unfold(1, 400, 320).mean(dim=-1, keepdim=True)
        if position_R is not None:
            features_BTC = interpolated(features_BTC, position_R)
        return features_BTC[:, :, None]


@pytest.mark.parametrize("timing", ["before_encoder", "after_encoder"])
@pytest.mark.parametrize("num_samples", [64001, 112123, 160000, 200000])
def test_in_stretches_every_row_stays_in_its_place(
    timing: str, num_samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = AudioConfig(timing=timing, num_layers=1, feature_dim=1)
    sound = torch.linspace(-1.0, 1.0, num_samples) + 0.1 * torch.randn(num_samples)
    length = {"fps": 29.97, "num_frames": 175, "clip_frames": 16}
    calls: list[int] = []
    whole = encode_rows(Ears(), sound, audio, on_stretch=lambda: calls.append(1), **length)
    assert len(calls) == 1
    monkeypatch.setattr(rows_module, "WHOLE_SAMPLES", 16000 * 4)
    monkeypatch.setattr(rows_module, "CONTEXT_SAMPLES", 16000)
    parts = encode_rows(Ears(), sound, audio, on_stretch=lambda: calls.append(1), **length)
    assert len(calls) >= 3
    assert parts.shape == whole.shape
    assert torch.allclose(parts, whole, atol=1e-5)


def test_a_long_sound_in_stretches_is_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that hears far and wide: how different the rows are, against neighbouring rows."""
    torch.manual_seed(0)
    sound = torch.randn(16000 * 7 + 123) * torch.linspace(0, 40, 16000 * 7 + 123).sin()
    audio = AudioConfig(timing="before_encoder", num_layers=2)
    length = {"fps": 25.0, "num_frames": 175, "clip_frames": 16}
    whole = encode_rows(v_express_encoder(), sound, audio, **length)
    monkeypatch.setattr(rows_module, "WHOLE_SAMPLES", 16000 * 4)
    monkeypatch.setattr(rows_module, "CONTEXT_SAMPLES", 16000)
    parts = encode_rows(v_express_encoder(), sound, audio, **length)
    error = (parts - whole).square().mean().sqrt()
    moved = (whole[1:] - whole[:-1]).square().mean().sqrt()
    assert error < 0.3 * moved


@pytest.mark.parametrize("num_samples", [1, 399, 400, 5000])
def test_short_sounds(num_samples: int) -> None:
    for audio in (HALLO, V_EXPRESS):
        model = hallo_encoder() if audio is HALLO else v_express_encoder()
        rows = encode_rows(
            model, torch.randn(num_samples), audio, fps=25.0, num_frames=3, clip_frames=4
        )
        assert rows.isfinite().all()
        assert len(rows) == 6 if audio is V_EXPRESS else len(rows) % 4 == 0


def test_the_wrong_kind_or_size_of_encoder_is_refused() -> None:
    class Other:
        pass

    sound = torch.randn(1000)
    length = {"fps": 25.0, "num_frames": 3, "clip_frames": 4}
    for timing in ("frame_centers", "before_encoder", "after_encoder", "encoder_steps"):
        with pytest.raises(InputError, match=f"Other cannot be read .*{timing}"):
            encode_rows(Other(), sound, AudioConfig(timing=timing), **length)
    with pytest.raises(InputError, match="cannot be read .*Expected a whisper model"):
        audio = AudioConfig(timing="encoder_steps", encoder="whisper")
        encode_rows(hallo_encoder(), sound, audio, **length)
    with pytest.raises(InputError, match="2 layers of width 768; .* 12 layers of width 768"):
        encode_rows(v_express_encoder(), sound, HALLO, **length)
    with pytest.raises(InputError, match="12 layers of width 768; .* 6 layers of width 768"):
        audio = AudioConfig(timing="before_encoder", num_layers=6)
        encode_rows(hallo_encoder(), sound, audio, **length)
