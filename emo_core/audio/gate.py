"""A noise gate for the voice: what is nearly silent becomes silent for what drives the face.

The filter is FFmpeg's agate, with a hard knee and no floor. Sound that a film is heard with is left
alone; the gate is for what drives the face.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .waveform import Waveform, joined

USUAL_THRESHOLD_DB = -45.0
USUAL_ATTACK_MS = 10.0
USUAL_RELEASE_MS = 150.0
MIN_THRESHOLD_DB = -90.0
MIN_TIME_MS = 0.01
MAX_TIME_MS = 9000.0
"""Bounds of agate's attack and release."""

HARDEST_RATIO = 9000
SAMPLES_AT_ONCE = 1 << 16


def gate(
    waveform: Waveform,
    *,
    threshold_db: float = USUAL_THRESHOLD_DB,
    attack_ms: float = USUAL_ATTACK_MS,
    release_ms: float = USUAL_RELEASE_MS,
) -> Waveform:
    """Silence the stretches whose level is below a threshold.

    Args:
        waveform: (C, N) of any number of channels; the loudest of them opens the gate for all.
        threshold_db: level of the gate in dB below full scale, -90 to 0. The level rises faster
            than it falls, so noise counts some 6 dB louder than its RMS: leave 10 dB above it,
            else the gate chatters.
        attack_ms: time constant with which the measured level rises, 0.01 to 9000 ms. A voice far
            above the threshold opens the gate much sooner.
        release_ms: time constant with which it falls, 0.01 to 9000 ms; the gate closes after some
            of them. Longer keeps short pauses between words open.

    Returns:
        The sound at the same rate and of the same shape; in a file where it lies in one.

    Raises:
        InputError: a setting outside its range, or a sound without samples.
    """
    _check(threshold_db=threshold_db, attack_ms=attack_ms, release_ms=release_ms)
    channels, num_samples = waveform.samples.shape
    if not num_samples:
        raise InputError("gate: the sound has no samples. Expected at least one; check the file.")
    graph = av.filter.Graph()
    nodes = [
        graph.add_abuffer(
            sample_rate=waveform.sample_rate_hz,
            format="fltp",
            layout=_layout(channels),
            time_base=Fraction(1, waveform.sample_rate_hz),
        ),
        graph.add(
            "agate",
            f"threshold={10 ** (threshold_db / 20)}:attack={attack_ms}:release={release_ms}:"
            f"ratio={HARDEST_RATIO}:range=0:knee=1:detection=rms:link=maximum",
        ),
        graph.add("aformat", "sample_fmts=fltp"),
        graph.add("abuffersink"),
    ]
    for before, after in pairwise(nodes):
        before.link_to(after)
    graph.configure()
    return joined(_gated(waveform, graph), sample_rate_hz=waveform.sample_rate_hz, like=waveform)


def _check(*, threshold_db: float, attack_ms: float, release_ms: float) -> None:
    if not MIN_THRESHOLD_DB <= threshold_db <= 0.0:
        raise InputError(
            f"gate: a threshold of {threshold_db} dB. Expected {MIN_THRESHOLD_DB:g} to 0, in dB "
            f"below full scale; {USUAL_THRESHOLD_DB:g} is usual."
        )
    for name, value, usual in (
        ("attack", attack_ms, USUAL_ATTACK_MS),
        ("release", release_ms, USUAL_RELEASE_MS),
    ):
        if not MIN_TIME_MS <= value <= MAX_TIME_MS:
            raise InputError(
                f"gate: {name} of {value} ms. Expected {MIN_TIME_MS:g} to {MAX_TIME_MS:g}; "
                f"{usual:g} is usual."
            )


def _gated(waveform: Waveform, graph: av.filter.Graph) -> Iterator[Tensor]:
    for frame in _frames(waveform):
        graph.push(frame)
        for piece in _pulled(graph):
            yield torch.from_numpy(piece)


def _frames(waveform: Waveform) -> Iterator[av.AudioFrame | None]:
    """The sound in pieces, and None for its end."""
    samples = waveform.samples.detach().float().cpu().numpy()
    for start in range(0, samples.shape[1], SAMPLES_AT_ONCE):
        piece = np.ascontiguousarray(samples[:, start : start + SAMPLES_AT_ONCE])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=_layout(len(piece)))
        frame.sample_rate = waveform.sample_rate_hz
        frame.pts = start
        frame.time_base = Fraction(1, waveform.sample_rate_hz)
        yield frame
        waveform.release()
    yield None


def _pulled(graph: av.filter.Graph) -> Iterator[np.ndarray]:
    while True:
        try:
            yield graph.pull().to_ndarray()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _layout(channels: int) -> str:
    return {1: "mono", 2: "stereo"}.get(channels, f"{channels}C")
