"""Files that one step of training hands to the next: named tensors, or a network's weights.

They are written whole or not at all (`files.write`). Whoever reads one says by which command it is
made, since that is what to do when it is missing or of another version.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from ..checkpoints.emo import check_fits
from ..errors import InputError
from ..files.read import TensorFile, read_tensors


def read_made(path: Path, names: Sequence[str], *, made_by: str) -> dict[str, Tensor]:
    """Read a file's tensors into memory.

    Args:
        names: all that it should hold.
        made_by: the command, such as "train encode".

    Raises:
        InputError: missing, damaged, or with other tensors.
    """
    file = _opened(path, made_by=made_by)
    missing = sorted(set(names) - set(file.tensors))
    extra = sorted(set(file.tensors) - set(names))
    if missing or extra:
        raise InputError(
            f"{path}: lacks {missing[:3]} and has {extra[:3]} beside what it should; expected "
            f"{', '.join(names)}. It is another file or of another version: make it again "
            f"with 'python -m emo_core {made_by}'."
        )
    return dict(file.stream(names))


def load_made(network: nn.Module, path: Path, *, made_by: str) -> None:
    """Load all weights of a network, strictly.

    Args:
        made_by: the command that trains it.

    Raises:
        InputError: missing, damaged, or of another network.
    """
    file = _opened(path, made_by=made_by)
    state = dict(file.stream(file.tensors))
    cure = f"It is of another network or version: make it with 'python -m emo_core {made_by}'."
    check_fits(network, state, name=str(path), cure=cure)
    network.load_state_dict(state)


def _opened(path: Path, *, made_by: str) -> TensorFile:
    if not path.is_file():
        raise InputError(f"{path}: no such file. Make it with 'python -m emo_core {made_by}'.")
    return read_tensors(path)
