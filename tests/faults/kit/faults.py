"""What goes wrong while a film is made: each fault strikes at a chosen call of a chosen place.

The place is real code, wrapped; the fault is the error that the system, torch or FFmpeg would
raise there, or SIGKILL.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import BinaryIO
from unittest.mock import patch

import av
import torch
from striking import Failing, at_call
from torch import Tensor

import emo_core.files.on_disk
import emo_core.files.write
import emo_core.video.stills
from emo_core.models.backbone import Backbone
from emo_core.models.vae import VAE
from emo_core.store.clips import ClipStore
from emo_core.video.writer import Mp4Writer


@dataclass(frozen=True)
class Fault:
    """Which fault, and when."""

    name: str = "none"
    """A key of `FAULTS`."""
    number: int = 1
    """The call that it strikes, counted from 1; for `refused`, bytes."""
    share: float = 0.0
    """0 to 1: how much of the call's work is done before."""
    after_s: float | None = None
    """Seconds from the film's begin to a signal from outside; None is never."""
    signal: int = signal.SIGKILL
    """The one that comes from outside."""


def install(fault: Fault) -> AbstractContextManager[None]:
    """Lay a fault in wait inside the block."""
    return FAULTS[fault.name](fault)


def _kill(*call: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raising(error: Callable[[], BaseException]) -> Callable[..., None]:
    def strike(*call: object) -> None:
        raise error()

    return strike


@contextmanager
def _in_the_writer(part: str, method: str, number: int, error: BaseException) -> Iterator[None]:
    """A part of the mp4 writer, as soon as it is there, fails."""
    open_all = Mp4Writer._open

    def opened(writer: Mp4Writer) -> None:
        open_all(writer)
        setattr(writer, part, Failing(getattr(writer, part), method, number, error))

    with patch.object(Mp4Writer, "_open", opened):
        yield


def _full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def _in_an_entry(fault: Fault, strike: Callable[..., None]) -> AbstractContextManager[None]:
    """Some of a tensor's bytes are in the file."""

    def written(tensor: Tensor, file: BinaryIO) -> None:
        data = tensor.contiguous().numpy().tobytes()
        file.write(data[: int(fault.share * len(data))])
        file.flush()
        strike()

    return at_call(emo_core.files.write, "_write", fault.number, written)


def _in_the_film(fault: Fault, strike: Callable[..., None]) -> AbstractContextManager[None]:
    """A packet of the mp4 film; pictures have no packets."""
    return at_call(Mp4Writer, "_mux", fault.number, strike)


@contextmanager
def _decoder_holds(fault: Fault) -> Iterator[None]:
    """From a call on, the memory holds `share` of four frames; of none where that is 0."""
    decode, calls, most = VAE.decode, count(1), int(4 * fault.share)

    def limited(vae: VAE, latents: Tensor) -> Tensor:
        if next(calls) >= fault.number and len(latents) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return decode(vae, latents)

    with patch.object(VAE, "decode", limited):
        yield


@contextmanager
def _sound_on_a_full_disk(fault: Fault) -> Iterator[None]:
    module = emo_core.files.on_disk
    make = module.tempfile.TemporaryFile

    def full_file(**options: object) -> Failing:
        return Failing(make(**options), "write", fault.number, _full())

    with patch.object(module.tempfile, "TemporaryFile", full_file):
        yield


@contextmanager
def _limited(kind: int, most: int) -> Iterator[None]:
    """The kernel grants this process less than it wants."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@contextmanager
def _refused(fault: Fault) -> Iterator[None]:
    """From the first clip on, the kernel lets no file grow beyond `number` bytes."""
    with ExitStack() as limits:

        def limit(*call: object) -> None:
            limits.enter_context(_limited(resource.RLIMIT_FSIZE, fault.number))

        with at_call(ClipStore, "read", 1, limit):
            yield


@contextmanager
def _no_file_can_be_opened(fault: Fault) -> Iterator[None]:
    """While an entry is looked for, too many files are open; the film is stopped soon after."""
    read, calls = ClipStore.read, count(1)

    def without_files(store: ClipStore, fingerprint: str) -> object:
        if next(calls) != fault.number:
            return read(store, fingerprint)
        with _limited(resource.RLIMIT_NOFILE, 0):
            return read(store, fingerprint)

    with patch.object(ClipStore, "read", without_files), at_call(Backbone, "forward", 2, _STOP):
        yield


@contextmanager
def _none(fault: Fault) -> Iterator[None]:
    yield


_OUT_OF_MEMORY = _raising(lambda: torch.OutOfMemoryError("CUDA out of memory."))
_FULL = _raising(_full)
_STOP = _raising(KeyboardInterrupt)
_NO_MEMORY = (
    MemoryError(),
    av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
)

FAULTS: dict[str, Callable[[Fault], AbstractContextManager[None]]] = {
    "none": _none,
    "kill by the clock": _none,
    "stop by the clock": _none,
    "kill in a step": lambda f: at_call(Backbone, "forward", f.number, _kill),
    "kill in an entry": lambda f: _in_an_entry(f, _kill),
    "kill before an entry's name": lambda f: at_call(Path, "replace", f.number, _kill),
    "kill behind an entry": lambda f: at_call(ClipStore, "_make_room", f.number, _kill),
    "kill in the film": lambda f: _in_the_film(f, _kill),
    "kill at the film's end": lambda f: at_call(Mp4Writer, "_finish", 1, _kill),
    "kill in a picture": lambda f: at_call(emo_core.video.stills, "encoded", f.number, _kill),
    "stop in a step": lambda f: at_call(Backbone, "forward", f.number, _STOP),
    "stop in an entry": lambda f: _in_an_entry(f, _STOP),
    "stop in the film": lambda f: _in_the_film(f, _STOP),
    "no memory in the model": lambda f: at_call(Backbone, "forward", f.number, _OUT_OF_MEMORY),
    "no memory in the decoder": _decoder_holds,
    "no memory in the decoder but for less": _decoder_holds,
    "no memory in the encoder": lambda f: _in_the_writer(
        "_picture", "encode", f.number, _NO_MEMORY[f.number % len(_NO_MEMORY)]
    ),
    "no room for an entry": lambda f: _in_an_entry(f, _FULL),
    "no room for the film": lambda f: _in_the_writer("_container", "mux", f.number, _full()),
    "no room for what is shown": lambda f: _in_the_writer("_partial", "mux", f.number, _full()),
    "no room for a picture": lambda f: at_call(Path, "write_bytes", f.number, _FULL),
    "no room for the sound": _sound_on_a_full_disk,
    "refused": _refused,
    "no file can be opened": _no_file_can_be_opened,
}
