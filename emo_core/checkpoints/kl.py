"""The family `kl`: Stable Diffusion's VAE, in the layouts it is passed around in.

- diffusers' `AutoencoderKL` as it is now: the names that everything here is turned into;
- diffusers' until 0.17, which called the parts of the attention query, key, value and proj_attn;
- CompVis' latent-diffusion (`encoder.down.0.block.0...`), alone or under `first_stage_model.` in
  the file of a whole model. It counts the decoder's blocks from the finest, diffusers from the
  coarsest, and its attention is made of 1 x 1 convolutions where diffusers has linear layers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from ..config import PIXELS_PER_LATENT
from ..errors import InputError
from ..files.read import TensorFile

PREFIX = "first_stage_model."
LEFT_OUT = ("loss.", "model_ema.")
"""What training left in files of the VAE alone: the discriminator, and counters."""
NUM_GROUPS = 32
"""Of every group norm; the only size that shapes do not tell."""

_ATTENTION = {
    "norm": "group_norm",
    **{"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"},
    **{"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"},
}
_TELLING = {
    "encoder.conv_in.weight",
    "decoder.conv_in.weight",
    "encoder.down_blocks.0.resnets.0.conv1.weight",
    "decoder.up_blocks.0.resnets.0.conv1.weight",
}


def is_kl(names: Collection[str]) -> bool:
    return _TELLING <= set(kl_names(names).values())


def kl_names(names: Collection[str]) -> dict[str, str]:
    """Return diffusers' present name for each of a file's names that belongs to the VAE."""
    prefix = PREFIX if any(name.startswith(PREFIX) for name in names) else ""
    own = [name for name in names if name.startswith(prefix) and not name.startswith(LEFT_OUT)]
    last = max((int(i) for i in re.findall(r"decoder\.up\.(\d+)\.", " ".join(own))), default=0)
    return {name: _renamed(name.removeprefix(prefix), last_block=last) for name in own}


def kl_config(file: TensorFile, names: Mapping[str, str]) -> dict[str, object]:
    """Return the config of diffusers' `AutoencoderKL` that fits a file's shapes.

    Args:
        names: what `kl_names` says of the file.

    Raises:
        InputError: a VAE of another build, such as one with fewer pixels to a latent.
    """
    shapes = {new: tuple(file.tensors[old].shape) for old, new in names.items()}
    first = r"encoder\.down_blocks\.(\d+)\.resnets\.0\.conv1\.weight"
    blocks = sorted(int(match[1]) for match in map(re.compile(first).fullmatch, shapes) if match)
    convs = [shapes[f"encoder.down_blocks.{i}.resnets.0.conv1.weight"] for i in blocks]
    widths = [shape[0] if shape else 0 for shape in convs]
    num_layers = sum(
        re.fullmatch(r"encoder\.down_blocks\.0\.resnets\.\d+\.conv1\.weight", name) is not None
        for name in shapes
    )
    pixels_per_latent = 2 ** (len(blocks) - 1)
    is_usual = blocks == list(range(len(blocks))) and pixels_per_latent == PIXELS_PER_LATENT
    if not is_usual or any(width % NUM_GROUPS or not width for width in widths):
        raise InputError(
            f"{file.path}: a VAE with blocks of widths {widths}, {pixels_per_latent} pixels to a "
            f"latent; expected {PIXELS_PER_LATENT} pixels and multiples of {NUM_GROUPS}. Give "
            "Stable Diffusion's VAE, for example sd-vae-ft-mse."
        )
    latents, images = shapes["decoder.conv_in.weight"], shapes["encoder.conv_in.weight"]
    if len(latents) != 4 or len(images) != 4 or images[1] != 3:
        raise InputError(
            f"{file.path}: its first layers are shaped {images} and {latents}; expected four "
            "sizes each, and three colours. It is not a VAE for pictures: give Stable Diffusion's."
        )
    return {
        "down_block_types": ("DownEncoderBlock2D",) * len(blocks),
        "up_block_types": ("UpDecoderBlock2D",) * len(blocks),
        "block_out_channels": tuple(widths),
        "layers_per_block": num_layers,
        "latent_channels": latents[1],
        "norm_num_groups": NUM_GROUPS,
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
        "mid_block_add_attention": "decoder.mid_block.attentions.0.to_q.weight" in shapes,
    }


def with_linear_attention(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state in which the attention's 1 x 1 convolutions are linear layers."""
    return {
        name: value.flatten(1) if ".attentions.0.to_" in name and value.ndim > 2 else value
        for name, value in state.items()
    }


def _renamed(name: str, *, last_block: int) -> str:
    name = re.sub(r"\bdown\.(\d+)\.block\.", r"down_blocks.\1.resnets.", name)
    name = re.sub(r"\bdown\.(\d+)\.downsample\.", r"down_blocks.\1.downsamplers.0.", name)
    name = re.sub(
        r"\bup\.(\d+)\.(block|upsample)\.",
        lambda match: (
            f"up_blocks.{last_block - int(match[1])}."
            + {"block": "resnets.", "upsample": "upsamplers.0."}[match[2]]
        ),
        name,
    )
    name = re.sub(r"\bmid\.block_(\d+)\.", lambda m: f"mid_block.resnets.{int(m[1]) - 1}.", name)
    name = name.replace("mid.attn_1.", "mid_block.attentions.0.")
    name = name.replace(".nin_shortcut.", ".conv_shortcut.").replace(
        "coder.norm_out.", "coder.conv_norm_out."
    )
    return re.sub(
        r"(\.attentions\.0)\.(\w+)\.(weight|bias)$",
        lambda match: f"{match[1]}.{_ATTENTION.get(match[2], match[2])}.{match[3]}",
        name,
    )
