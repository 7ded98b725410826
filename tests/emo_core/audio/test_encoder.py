"""Audio features: windows, timing, stretches, and wav2vec2 against transformers."""

from pathlib import Path

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from emo_core.audio import encoder as encoder_module
from emo_core.audio.encoder import NormalizedSound as as_a_whole
from emo_core.audio.encoder import Wav2Vec2Encoder, encode_sound, normalized
from emo_core.audio.front_end import STEP_SAMPLES, FrontEnd
from emo_core.audio.windows import frame_positions, sample_at, windows_around_frames
from emo_core.config import FrontEndConfig
from emo_core.errors import InputError

TINY = FrontEndConfig(num_mels=20, width=16, dilations=(1, 2), num_returned_layers=2)


def tiny_front_end() -> FrontEnd:
    torch.manual_seed(0)
    return FrontEnd(TINY).eval()


def test_windows_repeat_the_ends() -> None:
    windows = windows_around_frames(torch.arange(4), margin=2)
    assert windows.tolist() == [
        [0, 0, 0, 1, 2],
        [0, 0, 1, 2, 3],
        [0, 1, 2, 3, 3],
        [1, 2, 3, 3, 3],
    ]


def sample_at_frames(
    features_T: torch.Tensor, *, rate_hz: float, first_center_s: float, fps: float, num_frames: int
) -> torch.Tensor:
    """Interpolate features [T, ...] at the centres of video frames."""
    position_F = frame_positions(
        num_frames,
        num_steps=features_T.shape[0],
        rate_hz=rate_hz,
        first_center_s=first_center_s,
        fps=fps,
    )
    return sample_at(features_T, position_F)


def test_features_are_taken_at_the_centres_of_frames() -> None:
    """A ramp over time is read off exactly, at any frame rate."""
    ramp = 0.01 + 0.02 * torch.arange(100, dtype=torch.float64)  # its own time in seconds
    for fps in (25.0, 29.97, 12.0):
        num_frames = int(1.9 * fps)
        times = sample_at_frames(
            ramp, rate_hz=50.0, first_center_s=0.01, fps=fps, num_frames=num_frames
        )
        expected = (torch.arange(num_frames, dtype=torch.float64) + 0.5) / fps
        assert torch.allclose(times, expected, atol=1e-9)


@torch.no_grad()
def test_a_click_is_heard_in_its_own_frame() -> None:
    front_end = tiny_front_end()
    silence = torch.zeros(32000)
    clicked = silence.clone()
    clicked[16000 + 320 : 16000 + 640] = 1.0
    features = [
        sample_at_frames(
            front_end.log_mel(sound[None])[0].T,
            rate_hz=100.0,
            first_center_s=0.0,
            fps=25.0,
            num_frames=50,
        )
        for sound in (silence, clicked)
    ]
    change = (features[1] - features[0]).abs().sum(dim=1)
    assert int(change.argmax()) == 25


@torch.no_grad()
@pytest.mark.parametrize("num_samples", [1, 319, 320, 321, 16000])
def test_one_step_per_320_samples(num_samples: int) -> None:
    features = tiny_front_end()(torch.randn(1, num_samples))
    assert features.shape == (1, -(-num_samples // STEP_SAMPLES), 2, 16)


@pytest.mark.parametrize("fps", [8.0, 24.0, 25.0, 29.97, 60.0])
def test_long_sound_in_stretches_equals_one_pass(
    fps: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    front_end = tiny_front_end()
    assert front_end.context_samples <= encoder_module.CONTEXT_STEPS * STEP_SAMPLES
    sound = torch.randn(16000 * 9)
    num_frames = round(9 * fps) + 5
    whole = torch.cat(list(encode_sound(front_end, sound, fps=fps, num_frames=num_frames)))
    with torch.no_grad():
        features = front_end(normalized(sound)[None])[0]
    at_frames = {"fps": fps, "num_frames": num_frames}
    wanted = sample_at_frames(features, rate_hz=50.0, first_center_s=0.01, **at_frames)
    assert torch.equal(whole, wanted)
    # Each stretch normalised by the whole sound, so that nothing but the cutting differs.
    monkeypatch.setattr(encoder_module, "NormalizedSound", lambda sound, **_: as_a_whole(sound))
    for stretch_steps in (120, 113, 449):
        monkeypatch.setattr(encoder_module, "STRETCH_STEPS", stretch_steps)
        assert torch.allclose(
            torch.cat(list(encode_sound(front_end, sound, **at_frames))), whole, atol=1e-5
        )


def test_a_change_leaves_earlier_stretches_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "STRETCH_STEPS", 150)
    monkeypatch.setattr(encoder_module, "CONTEXT_STEPS", 50)
    sound = torch.randn(16000 * 9)
    louder = sound.clone()
    louder[round(7.5 * 16000) :] *= 3.0

    def encode(sound: torch.Tensor) -> torch.Tensor:
        return torch.cat(list(encode_sound(tiny_front_end(), sound, fps=25.0, num_frames=225)))

    before, after = encode(sound), encode(louder)
    # Stretches of 3 s, each with a second behind it: the one that ends at 6 s hears up to 7 s.
    assert torch.equal(before[:149], after[:149])
    assert not torch.equal(before[155], after[155])


def test_the_demo_front_end_fits_its_context() -> None:
    assert FrontEnd(FrontEndConfig()).context_samples <= encoder_module.CONTEXT_STEPS * STEP_SAMPLES


def test_loudness_does_not_matter() -> None:
    front_end = tiny_front_end()
    sound = torch.randn(16000)
    loud = torch.cat(list(encode_sound(front_end, sound, fps=25.0, num_frames=25)))
    soft = torch.cat(list(encode_sound(front_end, 0.01 * sound + 0.1, fps=25.0, num_frames=25)))
    assert torch.allclose(loud, soft, atol=1e-2)


def save_wav2vec2(folder: Path) -> Wav2Vec2Model:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embedding_groups=2,
    )
    model = Wav2Vec2Model(config).eval()
    model.save_pretrained(folder)
    return model


def test_wav2vec2_equals_transformers(tmp_path: Path) -> None:
    model = save_wav2vec2(tmp_path)
    sound = 0.3 * torch.randn(16000) + 0.05
    extractor = Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=16000, do_normalize=True)
    values = extractor(sound.numpy(), sampling_rate=16000, return_tensors="pt").input_values
    assert torch.allclose(normalized(sound)[None], values, atol=1e-4)
    with torch.no_grad():
        padded = torch.nn.functional.pad(values, (0, 80))
        expected = torch.stack(model(padded, output_hidden_states=True).hidden_states[1:], dim=2)
        encoder = Wav2Vec2Encoder.from_folder(tmp_path)
        features = encoder(normalized(sound)[None])
    assert features.shape == (1, 50, 3, 16)
    assert torch.allclose(features, expected, atol=1e-4)


def test_folders_without_a_model_are_refused(tmp_path: Path) -> None:
    save_wav2vec2(tmp_path)
    with pytest.raises(InputError, match="no config.json"):
        Wav2Vec2Encoder.from_folder(tmp_path / "none")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no safetensors weights"):
        Wav2Vec2Encoder.from_folder(tmp_path)
