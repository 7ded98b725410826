"""Write a little film that is thrown away, to learn how long writing takes and how large it is.

Letters: F frames, H and W rows and columns of pixels.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ..video.stills import PngSequenceWriter
from ..video.writer import Mp4Writer

OpenScratch = Callable[[Path, int], Mp4Writer | PngSequenceWriter]
"""(path without an ending, number of frames) -> writer of the kind that the film will have."""
SCRATCH_FRAMES = 96
"""Of the scratch film. In one of a few frames the first, which is stored whole, counts too much."""


def time_writing(frames_FHW3: Tensor, open_scratch: OpenScratch) -> tuple[float, float]:
    """Write frames of 0..1, to and fro until they are a little film.

    Returns:
        Seconds and bytes per frame.
    """
    last = len(frames_FHW3) - 1
    with tempfile.TemporaryDirectory() as folder:
        scratch = open_scratch(Path(folder) / "scratch", SCRATCH_FRAMES)
        # Only now, since a writer first looks through the whole film's sound, once.
        begun_s = time.perf_counter()
        with scratch as writer:
            for index in range(SCRATCH_FRAMES):
                turn, place = divmod(index, last + 1)
                writer.write(frames_FHW3[[last - place if turn % 2 else place]])
        write_s = time.perf_counter() - begun_s
        num_bytes = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return write_s / SCRATCH_FRAMES, num_bytes / SCRATCH_FRAMES
