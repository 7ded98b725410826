"""How a result reaches the disk: whole or not at all.

Every writer fills a hidden sibling of its target and renames it at the end. Whatever stops the
work, an error or Ctrl-C, the sibling goes away and an older result stays as it was. What can be
used before it is whole stands beside it meanwhile under a visible name.
"""

from __future__ import annotations

import errno
import logging
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError

logger = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PREFIX, _ENDING = ".emo-", ".part"
STALE_S = 7 * 24 * 3600.0
"""Age of a hidden sibling that no living program can be writing to."""
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_SHOWN_STEM = 60
"""Letters of a name that its visible sibling keeps: with its ending it then fits everywhere."""


@contextmanager
def replacing(path: Path, *, is_folder: bool = False) -> Iterator[Path]:
    """Yield a new hidden file or folder beside `path` that takes its place when the block ends.

    A file replaces the file of that name, a folder only an empty one. Renaming is a single step of
    the file system, so nobody sees half a result.

    Raises:
        InputError: the folder round `path` does not exist or cannot be written, something of the
            other kind stands at `path`, or a folder there is not empty.
    """
    check_target(path, is_folder=is_folder)
    temporary = path.with_name(f"{_PREFIX}{secrets.token_hex(6)}{_ENDING}")
    try:
        with explaining_os_errors(path):
            temporary.mkdir() if is_folder else temporary.touch(exist_ok=False)
        yield temporary
        with explaining_os_errors(path):
            if is_folder:
                path = _emptied(path)
            temporary.replace(path)
    except BaseException:
        if is_folder:
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise


def _emptied(path: Path) -> Path:
    """Make way for a folder that is to become `path`, or say where else it can go: something that
    another program put there meanwhile stays, and so does the work."""
    number, free = 1, path
    while free.exists():
        try:
            free.rmdir()  # Windows does not rename onto an empty folder.
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            number += 1
            free = path.with_name(f"{path.name}-{number}")
    if free != path:
        logger.warning("%s: was filled by another program meanwhile; see %s.", path, free)
    return free


@contextmanager
def shown_meanwhile(path: Path) -> Iterator[Path]:
    """Yield a new visible file beside `path` for what there is of it; it goes when the block ends.

    Beside film.mp4 it is film.partial.mp4. Where that exists, because another program is at work or
    was killed, it is film.partial-2.mp4, and so on: nobody's film is overwritten. Only a program
    that is killed leaves its own.

    Raises:
        InputError: the file cannot be made.
    """
    with explaining_os_errors(path):
        shown = _new_sibling(path)
    try:
        yield shown
    finally:
        try:
            shown.unlink(missing_ok=True)
        except OSError as error:  # On Windows a player may hold it.
            logger.warning("%s: cannot be removed (%s). Remove it.", shown, error.strerror)


def _new_sibling(path: Path) -> Path:
    number = 1
    while True:
        ending = ".partial" if number == 1 else f".partial-{number}"
        sibling = path.with_name(f"{path.stem[:_SHOWN_STEM]}{ending}{path.suffix}")
        try:
            sibling.touch(exist_ok=False)
        except FileExistsError:
            number += 1
            continue
        return sibling


@contextmanager
def explaining_os_errors(path: Path) -> Iterator[None]:
    """Turn an OSError met while writing `path` into an InputError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            reason = "the disk is full. Expected room for the result; free some, or choose"
        elif error.errno == errno.EFBIG:
            reason = "the file system takes no file of this size. Expected room; choose"
        elif error.errno in _REFUSED:
            reason = "the system refuses to write here. Expected a writable folder; choose"
        else:
            reason = f"writing failed ({error.strerror}). Expected a working disk; check it, or use"
        raise InputError(f"{path}: {reason} another folder.") from error


def check_target(path: Path, *, is_folder: bool = False) -> None:
    """See whether `replacing` can begin, as before long work whose result it is to take.

    Raises:
        InputError: as `replacing`.
    """
    with explaining_os_errors(path):
        if not path.parent.is_dir():
            raise InputError(
                f"{path}: there is no folder {path.parent}. Expected a folder that exists; create "
                "it or choose another."
            )
        if not is_folder and path.is_dir():
            raise InputError(f"{path}: this is a folder. Expected the name of a file; add one.")
        if is_folder and path.exists():
            if not path.is_dir():
                raise InputError(f"{path}: this is a file. Expected a folder; choose another name.")
            if any(path.iterdir()):
                raise InputError(
                    f"{path}: the folder is not empty. Expected a new or an empty folder, so that "
                    "frames of two films do not mix; choose another or empty it."
                )


def remove_stale(folder: Path) -> None:
    """Remove the hidden files and folders of programs that were killed while they wrote them."""
    for path in folder.glob(f"{_PREFIX}*{_ENDING}"):
        try:
            if time.time() - path.stat().st_mtime <= STALE_S:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        except OSError:  # Its program ended it, or it is another user's.
            continue
