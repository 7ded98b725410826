"""wav2vec2 from folders and single files, against transformers' own model."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2ForPreTraining, Wav2Vec2Model

from emo_core.audio.encoder import Wav2Vec2Encoder
from emo_core.audio.rows import encode_rows
from emo_core.audio.wav2vec2 import aligned_positions, infer_config, interpolated
from emo_core.config import AudioConfig
from emo_core.errors import InputError

SIZES = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "conv_dim": (8, 8, 8, 8, 8, 8, 16),
    "num_conv_pos_embeddings": 20,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
KINDS = {"base": {}, "large": LARGE}
POSITION = "encoder.pos_conv_embed.conv."


def make(kind: str, head: Callable = Wav2Vec2Model) -> torch.nn.Module:
    torch.manual_seed(0)
    model = head(Wav2Vec2Config(**SIZES, **KINDS[kind])).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def load(path: Path) -> Wav2Vec2Encoder:
    return Wav2Vec2Encoder.from_file(path)


def expected_states(model: torch.nn.Module, sound: Tensor) -> Tensor:
    """transformers' layers; the last one after the final norm, as it was before version 5."""
    output = model(sound, output_hidden_states=True)
    layers = list(output.hidden_states[1:])
    layers[-1] = output.last_hidden_state
    return torch.stack(layers, dim=2)


@torch.no_grad()
@pytest.mark.parametrize("kind", list(KINDS))
def test_folder_and_file_equal_transformers(kind: str, tmp_path: Path) -> None:
    model = make(kind)
    model.save_pretrained(tmp_path)
    sound = torch.randn(2, 4000)
    wanted = expected_states(model, sound)
    folder = Wav2Vec2Encoder.from_folder(tmp_path)
    for encoder in (folder, load(tmp_path / "model.safetensors")):
        assert torch.allclose(encoder.hidden_states(sound), wanted, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", list(KINDS))
def test_interpolation_stands_between_convolutions_and_projection(
    kind: str, tmp_path: Path
) -> None:
    """As Hallo's subclass of transformers' model does it."""
    model = make(kind)
    model.save_pretrained(tmp_path)
    sound = torch.randn(1, 8000)
    features = model.feature_extractor(sound)
    rows = torch.nn.functional.interpolate(features, size=10, mode="linear", align_corners=True)
    hidden = model.feature_projection(rows.transpose(1, 2))[0]
    wanted = model.encoder(hidden).last_hidden_state
    found = load(tmp_path / "model.safetensors").hidden_states(
        sound, aligned_positions(features.shape[2], 10)
    )
    assert found.shape == (1, 10, 3, 128)
    assert torch.allclose(found[:, :, -1], wanted, atol=1e-5)


@pytest.mark.parametrize(("num_steps", "num_rows"), [(21, 12), (1, 4), (7, 1), (5999, 3001)])
def test_interpolation_is_that_of_torch_at_any_length(num_steps: int, num_rows: int) -> None:
    features = torch.randn(1, num_steps, 8)
    wanted = torch.nn.functional.interpolate(
        features.transpose(1, 2), size=num_rows, mode="linear", align_corners=True
    ).transpose(1, 2)
    found = interpolated(features, aligned_positions(num_steps, num_rows))
    assert torch.allclose(found, wanted, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("head", [Wav2Vec2ForCTC, Wav2Vec2ForPreTraining])
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_a_file_with_prefix_old_names_and_heads(
    head: Callable, ending: str, tmp_path: Path
) -> None:
    model = make("base", head)
    state = {}
    for key, value in model.state_dict().items():
        key = key.replace("conv.parametrizations.weight.original0", "conv.weight_g")
        state[key.replace("conv.parametrizations.weight.original1", "conv.weight_v")] = value
    assert "wav2vec2." + POSITION + "weight_v" in state
    assert any(not key.startswith("wav2vec2.") for key in state)
    path = tmp_path / f"model.{ending}"
    if ending == "bin":
        torch.save(state, path)
    else:
        save_file(state, path)
    sound = torch.randn(1, 4000)
    found = load(path).hidden_states(sound)
    assert torch.allclose(found, expected_states(model.wav2vec2, sound), atol=1e-5)


def test_half_precision_is_loaded_in_single(tmp_path: Path) -> None:
    state = {key: value.half() for key, value in make("base").state_dict().items()}
    save_file(state, tmp_path / "half.safetensors")
    model = load(tmp_path / "half.safetensors").model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not model.training


def test_sizes_are_read_off() -> None:
    for kind, options in KINDS.items():
        config = infer_config(make(kind).state_dict(), name="it")
        for field, value in {**SIZES, **options}.items():
            assert getattr(config, field) in (value, list(value) if field == "conv_dim" else value)


def test_missing_and_left_over_keys_are_listed(tmp_path: Path) -> None:
    state = make("base").state_dict()
    moved = state.pop("encoder.layers.1.attention.q_proj.bias")
    state["encoder.layers.1.attention.q_prej.bias"] = moved
    state["encoder.layers.2.final_layer_norm.weight"] = torch.ones(64)
    save_file(state, tmp_path / "it.safetensors")
    with pytest.raises(InputError) as error:
        load(tmp_path / "it.safetensors")
    assert "1 missing: encoder.layers.1.attention.q_proj.bias;" in str(error.value)
    assert "1 left over: encoder.layers.1.attention.q_prej.bias;" in str(error.value)
    assert "final_layer_norm.weight (64,) instead of (128,)" in str(error.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="not a wav2vec2 model.*Hugging Face's names"):
        load(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00")
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load(tmp_path / "cut.safetensors")
    for name, contents in {
        "code.pt": torch.nn.Linear(1, 1),
        "list.pt": [1],
        "number.pt": {"a": 1},
    }.items():
        torch.save(contents, tmp_path / name)
        with pytest.raises(InputError, match="refused|instead of named tensors"):
            load(tmp_path / name)
    (tmp_path / "text.bin").write_text("hello")
    with pytest.raises(InputError, match="refused"):
        load(tmp_path / "text.bin")


def test_other_sizes_are_refused(tmp_path: Path) -> None:
    state = make("base").state_dict()
    save_file(state, tmp_path / "it.safetensors")
    for num_layers, feature_dim in ((12, 128), (1, 768)):
        audio = AudioConfig(timing="after_encoder", num_layers=num_layers, feature_dim=feature_dim)
        expected = f"of width 128; the checkpoint was made with {num_layers} layers"
        with pytest.raises(InputError, match=expected):
            encode_rows(
                load(tmp_path / "it.safetensors"),
                torch.randn(4000),
                audio,
                fps=25.0,
                num_frames=5,
                clip_frames=5,
            )
    kernel = "feature_extractor.conv_layers.6.conv.weight"
    state[kernel] = torch.zeros(16, 8, 3)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="one step per 20 ms"):
        load(tmp_path / "other.safetensors")
