"""EchoMimic's ears, against what its own code computes and against transformers."""

from functools import cache
from pathlib import Path

import pytest
import torch
from parity_kit import kit
from safetensors.torch import save_file
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from emo_core.audio.rows import cut_windows, encode_rows
from emo_core.audio.whisper import WhisperEncoder, encode_steps, log_mel
from emo_core.config import AudioConfig
from emo_core.errors import InputError

ECHOMIMIC = AudioConfig(
    encoder="whisper",
    timing="encoder_steps",
    num_layers=5,
    feature_dim=384,
    rows_per_frame=2,
    projection=None,
    num_tokens=50,
    token_dim=384,
)
PARITY = {"atol": 1e-4, "rtol": 0.0}
LENGTH = {"fps": 24.0, "num_frames": 22, "clip_frames": 12}


def save_openai(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save({"dims": kit("echomimic").config["whisper_dims"], "model_state_dict": state}, path)
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> WhisperEncoder:
    state = kit("echomimic").files["whisper_tiny.pt"]
    path = save_openai(tmp_path_factory.mktemp("whisper") / "whisper_tiny.pt", state)
    return WhisperEncoder.load(path)


def sound() -> Tensor:
    return kit("echomimic").inputs["audio_waveform_i16"].float() / 32768.0


@cache
def long_sound() -> Tensor:
    """The kit's formula for 31.05 s, rounded to 16 bits."""
    time = torch.arange(496777, dtype=torch.float64) / 16000
    turn = 2 * torch.pi * time
    loudness = 1 + 0.5 * (0.7 * turn).sin()
    wave = 0.25 * (220 * turn).sin() * loudness + 0.1 * ((300 + 20 * time) * turn).sin()
    return (wave * 32767).round().float() / 32768


def test_log_mel() -> None:
    found = log_mel(sound(), num_mels=80)
    assert torch.allclose(found, kit("echomimic").expected["audio_log_mel"], **PARITY)


def test_log_mel_in_pieces_equals_one_piece() -> None:
    """The border between pieces is not heard, and the loudest moment is the whole file's."""
    loud_end = long_sound() * torch.linspace(1e-3, 1.0, len(long_sound())) ** 4
    extractor = WhisperFeatureExtractor(feature_size=80, chunk_length=60)
    values = extractor(loud_end.numpy(), sampling_rate=16000, padding="do_not_pad")
    wanted = torch.as_tensor(values["input_features"][0])
    found = log_mel(loud_end, num_mels=80)
    assert found.shape[1] == len(loud_end) // 160
    assert torch.allclose(found, wanted[:, : found.shape[1]], atol=1e-3)


def test_rows(encoder: WhisperEncoder) -> None:
    found = encode_rows(encoder, sound(), ECHOMIMIC, **LENGTH)
    assert found.shape == (41, 5, 384)
    assert torch.allclose(found, kit("echomimic").expected["audio_features"], **PARITY)


def test_rows_over_the_border_of_chunks(encoder: WhisperEncoder) -> None:
    expected, calls = kit("echomimic").expected, []
    found = encode_steps(encoder, long_sound(), on_stretch=lambda: calls.append(1))
    assert len(calls) == 2
    assert len(found) == expected["audio_long_counts"][0]
    chosen = found[expected["audio_long_rows"]]
    assert torch.allclose(chosen, expected["audio_long_features"], **PARITY)


def test_windows(encoder: WhisperEncoder) -> None:
    expected = kit("echomimic").expected
    rows = encode_rows(encoder, sound(), ECHOMIMIC, **LENGTH)
    windows = cut_windows(rows, expected["audio_windows_frames"], audio=ECHOMIMIC, fps=24.0)
    assert windows.shape == (6, 10, 5, 384)
    # Token by token: row by row, and level by level within a row.
    assert torch.allclose(windows.flatten(1, 2), expected["audio_windows"], **PARITY)
    numbers = torch.arange(41.0)[:, None, None]
    index = cut_windows(numbers, torch.arange(22), audio=ECHOMIMIC, fps=24.0)[..., 0, 0]
    assert index.tolist() == expected["audio_window_index"].tolist()
    past = cut_windows(numbers, torch.tensor([500]), audio=ECHOMIMIC, fps=24.0)
    assert (past == 40).all()


@pytest.mark.parametrize("num_samples", [1, 200, 400, 700])
def test_short_sounds(encoder: WhisperEncoder, num_samples: int) -> None:
    rows = encode_rows(encoder, torch.randn(num_samples), ECHOMIMIC, **LENGTH)
    assert rows.shape == (max(1, num_samples // 320), 5, 384)
    assert rows.isfinite().all()


def hugging_face_model() -> WhisperModel:
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=64,
        encoder_layers=2,
        encoder_attention_heads=1,
        encoder_ffn_dim=96,
        decoder_layers=1,
        decoder_attention_heads=1,
        decoder_ffn_dim=32,
        vocab_size=60,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return WhisperModel(config).eval()


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "model."])
def test_safetensors_equal_transformers(prefix: str, tmp_path: Path) -> None:
    model = hugging_face_model()
    state = {prefix + key: value.contiguous() for key, value in model.state_dict().items()}
    state["proj_out.weight"] = torch.zeros(60, 64)
    save_file(state, tmp_path / "model.safetensors")
    log_mel_BMS = torch.randn(1, 80, 3000)
    states = model.encoder(log_mel_BMS, output_hidden_states=True)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        encoder = WhisperEncoder.load(path)
        found = encoder.mel_states(log_mel_BMS)
        assert found.shape == (1, 1500, 3, 64)
        for level in range(2):
            assert torch.allclose(found[:, :, level], states.hidden_states[level], atol=1e-5)
        normed = model.encoder.layer_norm(found[:, :, 2])
        assert torch.allclose(normed, states.last_hidden_state, atol=1e-5)


def test_other_files_are_refused(tmp_path: Path) -> None:
    load = WhisperEncoder.load
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path)
    state = dict(kit("echomimic").files["whisper_tiny.pt"])
    path = save_openai(tmp_path / "whisper.pt", state)
    state["encoder.blocks.0.attn.kee.weight"] = state.pop("encoder.blocks.0.attn.key.weight")
    save_openai(path, state)
    with pytest.raises(InputError) as error:
        load(path)
    assert "1 missing: layers.0.self_attn.k_proj.weight;" in str(error.value)
    assert "1 left over: layers.0.attn.kee.weight." in str(error.value)
    save_file(kit("vexpress").files["audio_projection.bin"], tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="not a Whisper model"):
        load(tmp_path / "other.safetensors")
    short = dict(kit("echomimic").files["whisper_tiny.pt"])
    short["encoder.positional_embedding"] = torch.zeros(750, 384)
    with pytest.raises(InputError, match="750 positions and width 384"):
        load(save_openai(path, short))
