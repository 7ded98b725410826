"""Which audio encoder a file or a folder holds."""

from pathlib import Path

import pytest
import torch
from parity_kit import kit
from safetensors.torch import save_file

from emo_core.audio.encoder import Wav2Vec2Encoder
from emo_core.audio.load import load_audio_encoder
from emo_core.audio.whisper import WhisperEncoder
from emo_core.errors import InputError


def test_each_kind_is_recognised_by_its_keys(tmp_path: Path) -> None:
    whisper = kit("echomimic").files["whisper_tiny.pt"]
    torch.save({"dims": {}, "model_state_dict": whisper}, tmp_path / "some.pt")
    wav2vec2 = kit("vexpress").files["wav2vec2-base-960h/model.safetensors"]
    save_file(wav2vec2, tmp_path / "other.safetensors")
    assert isinstance(load_audio_encoder(tmp_path / "some.pt"), WhisperEncoder)
    assert isinstance(load_audio_encoder(tmp_path / "other.safetensors"), Wav2Vec2Encoder)


def test_neither_is_refused(tmp_path: Path) -> None:
    save_file({"conv_in.weight": torch.zeros(1)}, tmp_path / "unet.safetensors")
    with pytest.raises(InputError, match="this is not a wav2vec2 model"):
        load_audio_encoder(tmp_path / "unet.safetensors")
    with pytest.raises(InputError, match="no config.json"):
        load_audio_encoder(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load_audio_encoder(tmp_path / "none.pt")
