"""What the loaders of published checkpoints share: shapes in, configs and new names out.

Published files keep diffusers' names, which are ours too, so a loader says which file feeds which
network, what is dead in it, and reads widths and counts off the shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set

from ..config import TemporalConfig, UNetConfig
from ..errors import InputError
from ..files.read import TensorFile, read_tensors
from .checkpoint import Part
from .folder import sibling

Shapes = Mapping[str, tuple[int, ...]]

POSITION_TABLE = r"\.pos_encoder\.pe$"
"""Pattern of the names of the temporal modules' sinusoids, which are computed instead."""


def renamed(
    file: TensorFile,
    *,
    prefix: str = "",
    new_prefix: str,
    dead: tuple[str, ...] = (),
    overridden: Set[str] = frozenset(),
) -> Part:
    """Take every tensor whose name begins with `prefix`, but for those that nothing reads.

    Args:
        dead: patterns of names, searched for anywhere in the name.
        overridden: names that another file of the checkpoint has as well and wins.
    """
    names = {
        name: new_prefix + name.removeprefix(prefix)
        for name in file.tensors
        if name.startswith(prefix)
        and name not in overridden
        and not any(re.search(pattern, name) for pattern in dead)
    }
    return Part(file=file, names=names)


def shapes_of(file: TensorFile, *, prefix: str = "") -> Shapes:
    """Shapes under the names without `prefix`."""
    return {
        name.removeprefix(prefix): tuple(tensor.shape)
        for name, tensor in file.tensors.items()
        if name.startswith(prefix)
    }


def unet_config(shapes: Shapes) -> UNetConfig:
    """Read the skeleton off its shapes; heads and groups are Stable Diffusion 1.5's."""
    num_levels = _count(shapes, r"down_blocks\.(\d+)\.")
    return UNetConfig(
        latent_channels=shapes["conv_in.weight"][1],
        block_out_channels=tuple(
            shapes[f"down_blocks.{level}.resnets.0.conv1.weight"][0] for level in range(num_levels)
        ),
        attention_levels=tuple(
            f"down_blocks.{level}.attentions.0.norm.weight" in shapes for level in range(num_levels)
        ),
        layers_per_block=_count(shapes, r"down_blocks\.0\.resnets\.(\d+)\."),
    )


def temporal_config(
    shapes: Shapes, *, num_motion_frames: int, levels: tuple[bool, ...] | None = None
) -> TemporalConfig:
    """Read the temporal modules off their shapes."""
    block = r"mid_block\.motion_modules\.0\.temporal_transformer\.transformer_blocks\.0\."
    tables = [shape for name, shape in shapes.items() if re.search(POSITION_TABLE, name)]
    return TemporalConfig(
        # Converters may leave the table out; every published one has AnimateDiff's length.
        num_positions=tables[0][1] if tables else TemporalConfig.num_positions,
        num_attention_blocks=_count(shapes, block + r"attention_blocks\.(\d+)\."),
        num_motion_frames=num_motion_frames,
        levels=levels,
    )


def context_width(shapes: Shapes) -> int | None:
    """Width of what `attn2` reads; None without one."""
    shape = shapes.get("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight")
    return None if shape is None else shape[1]


def locator_channels(shapes: Shapes) -> tuple[int, ...]:
    """Widths of a face locator's resolutions, finest first."""
    num_blocks = _count(shapes, r"blocks\.(\d+)\.")
    widths = [shapes[f"blocks.{index}.weight"][0] for index in range(1, num_blocks, 2)]
    return (shapes["conv_in.weight"][0], *widths)


def beside(file: TensorFile, name: str, *, role: str) -> TensorFile:
    """Open the file `name` that belongs to `file` and lies in the same folder.

    Args:
        role: what it holds, for the message.

    Raises:
        InputError: there is none.
    """
    path = sibling(file.path, name)
    if path is None:
        raise InputError(
            f"{file.path}: {name}{file.path.suffix} is missing, which holds the {role}. Expected "
            "it in the same folder, as the checkpoint's page has it; fetch that too."
        )
    return read_tensors(path)


def _count(shapes: Shapes, pattern: str) -> int:
    """One more than the highest number at a place of the names."""
    found = [re.match(pattern, name) for name in shapes]
    return 1 + max(int(match.group(1)) for match in found if match is not None)
