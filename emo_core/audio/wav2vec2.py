"""wav2vec2 from a folder or from one file: which model it is, and its weights under their names.

One file says nothing about the model but by the names and shapes of its tensors. They tell all
that differs between the published models; what they cannot tell (strides, width of a head,
whether norms stand before the layers) follows from those.

Source: transformers `models/wav2vec2`, whose names of keys the files bear; older ones spell the
weight norm of the positional convolution `weight_g` and `weight_v`.

Letters: B sounds, T steps of 20 ms, R rows asked for, C channels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InputError
from ..files.read import read_tensors
from .weights import fill

if TYPE_CHECKING:  # Importing transformers takes seconds, and a front end needs none of it.
    from transformers import Wav2Vec2Config, Wav2Vec2Model

DEAD_KEYS = ("masked_spec_embed", "lm_head.", "quantizer.", "project_q.", "project_hid.")
"""Only training or writing down words reads these."""
CONV_KERNELS = (10, 3, 3, 3, 3, 2, 2)
CONV_STRIDES = (5, 2, 2, 2, 2, 2, 2)
"""Together a step of 320 samples that sees 400."""
HEAD_DIM = 64
WEIGHT_NORM = "encoder.pos_conv_embed.conv.parametrizations.weight."
RENAMED = {
    "encoder.pos_conv_embed.conv.weight_g": WEIGHT_NORM + "original0",
    "encoder.pos_conv_embed.conv.weight_v": WEIGHT_NORM + "original1",
}


def interpolated(features_BTC: Tensor, position_R: Tensor) -> Tensor:
    """Read features between their steps, linearly.

    Args:
        position_R: in steps, 0 to T - 1, ascending, float32 on any device.

    Returns:
        (B, R, C), same dtype and device as the features.
    """
    position_R = position_R.to(features_BTC.device)
    low_R = position_R.floor().long()
    high_R = (low_R + 1).clamp(max=features_BTC.shape[1] - 1)
    share_R1 = (position_R - low_R)[:, None]
    # Half precision cannot tell the shares of a long sound apart.
    features = features_BTC.float()
    return torch.lerp(features[:, low_R], features[:, high_R], share_R1).to(features_BTC.dtype)


def aligned_positions(num_steps: int, num_rows: int) -> Tensor:
    """Where `num_rows` rows lie on `num_steps` steps if both ends coincide (align_corners).

    Computed in float32 in the order of torch's `interpolate`: in a sound of minutes a position is
    off by up to 1e-3 of a step, and Hallo's numbers have that in them.
    """
    scale = torch.tensor(float(num_steps - 1)) / max(num_rows - 1, 1)
    position_R = torch.arange(num_rows, dtype=torch.float32) * scale
    return position_R.clamp(max=num_steps - 1)


def load_folder(folder: Path) -> Wav2Vec2Model:
    """Load a folder in Hugging Face's layout: config.json and model.safetensors.

    Raises:
        InputError: one of the two is not there, or they do not fit each other.
    """
    from transformers import Wav2Vec2Config

    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder}: no config.json, so this is not a wav2vec2 folder. Give the folder of "
            "a model such as wav2vec2-base-960h with config.json and model.safetensors."
        )
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise InputError(
            f"{folder}: no safetensors weights. Expected model.safetensors beside config.json: "
            "download it, or give the file of weights itself in place of the folder."
        )
    try:
        config = Wav2Vec2Config.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder / 'config.json'}: not the configuration of a wav2vec2 model ({error}). Fetch "
            "it again from the model's page."
        ) from error
    return build(read_tensors(weights).tensors, name=str(folder), config=config)


def build(
    tensors: Mapping[str, Tensor], *, name: str, config: Wav2Vec2Config | None = None
) -> Wav2Vec2Model:
    """Build the model that tensors belong to, in evaluation mode and float32.

    Args:
        tensors: in Hugging Face's naming, prefixed `wav2vec2.` or not, new or old.
        name: what a message calls them.
        config: None reads it off the tensors.

    Raises:
        InputError: not a wav2vec2 model, not one for steps of 20 ms, or keys missing or left over.
    """
    from transformers import Wav2Vec2Model

    tensors = _plain_names(tensors)
    config = infer_config(tensors, name=name) if config is None else config
    found = (tuple(config.conv_kernel), tuple(config.conv_stride))
    if found != (CONV_KERNELS, CONV_STRIDES):
        raise InputError(
            f"{name}: convolutions of kernels {found[0]} and strides {found[1]}. Expected "
            f"{CONV_KERNELS} and {CONV_STRIDES}, one step per 20 ms; give a wav2vec2 model for "
            "sound of 16 kHz."
        )
    # Only with chances above 0 would the model have `masked_spec_embed`.
    config.mask_time_prob = config.mask_feature_prob = 0.0
    with torch.device("meta"):
        model = Wav2Vec2Model(config)
    fill(model, tensors, name=name)
    return model.eval()


def infer_config(tensors: dict[str, Tensor], *, name: str) -> Wav2Vec2Config:
    """Read off a model's sizes from its tensors, whose names have no prefix.

    Norms stand before the layers where every convolution has one, as in all published models.

    Raises:
        InputError: not a wav2vec2 model, or one of sizes that never were published.
    """
    from transformers import Wav2Vec2Config

    num_layers = _count(tensors, "encoder.layers.")
    num_convs = _count(tensors, "feature_extractor.conv_layers.")
    try:
        hidden_size = len(tensors["encoder.layer_norm.weight"])
        convs = [
            tensors[f"feature_extractor.conv_layers.{index}.conv.weight"].shape
            for index in range(num_convs)
        ]
        position_shape = tensors[WEIGHT_NORM + "original1"].shape
        feed_forward = "encoder.layers.0.feed_forward.intermediate_dense.weight"
        intermediate_size = len(tensors[feed_forward])
    except KeyError as error:
        raise InputError(
            f"{name}: no {error.args[0]} among its {len(tensors)} tensors, so this is not a "
            "wav2vec2 model. Expected one under Hugging Face's names, such as the "
            "model.safetensors of wav2vec2-base-960h; give that."
        ) from error
    if hidden_size % HEAD_DIM:
        raise InputError(
            f"{name}: a wav2vec2 model of width {hidden_size}, whose number of heads is not to be "
            f"seen. Expected a multiple of {HEAD_DIM}; give the folder with its config.json."
        )
    has_norm_everywhere = "feature_extractor.conv_layers.1.layer_norm.weight" in tensors
    return Wav2Vec2Config(
        hidden_size=hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=hidden_size // HEAD_DIM,
        intermediate_size=intermediate_size,
        conv_dim=tuple(shape[0] for shape in convs),
        conv_kernel=tuple(shape[2] for shape in convs),
        conv_stride=CONV_STRIDES[:num_convs],
        conv_bias="feature_extractor.conv_layers.0.conv.bias" in tensors,
        num_conv_pos_embeddings=position_shape[2],
        num_conv_pos_embedding_groups=hidden_size // position_shape[1],
        feat_extract_norm="layer" if has_norm_everywhere else "group",
        do_stable_layer_norm=has_norm_everywhere,
    )


def _plain_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop the prefix and the dead keys, and spell the weight norm in the present way."""
    plain = {key.removeprefix("wav2vec2."): value for key, value in tensors.items()}
    return {
        RENAMED.get(key, key): value
        for key, value in plain.items()
        if not key.startswith(DEAD_KEYS)
    }


def _count(tensors: dict[str, Tensor], prefix: str) -> int:
    """How many numbers follow a prefix in the names."""
    matches = (re.match(re.escape(prefix) + r"(\d+)\.", key) for key in tensors)
    return len({match.group(1) for match in matches if match})
