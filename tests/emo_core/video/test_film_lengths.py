"""Picture and sound of a film end together, at every length, frame rate and sample rate.

The lengths are odd on purpose: neither frames nor blocks of AAC go into them evenly. Ten minutes
are tried only with --benchmarks (`make bench`).
"""

from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch

from emo_core.audio.timing import film_length
from emo_core.audio.waveform import Waveform
from emo_core.config import AudioConfig, SamplingConfig
from emo_core.video.writer import Mp4Writer

SIDE = 16
TICK_S = 0.002
"""Files count time in milliseconds or finer."""


def film_of(path: Path, *, seconds: float, fps: int, rate: int) -> int:
    """Write a film for a sound of so many seconds, in clips of a few frames; return its frames."""
    sound = Waveform(samples=torch.zeros(1, round(seconds * rate)), sample_rate_hz=rate)
    num_frames = film_length(
        sound.samples.shape[-1],
        sample_rate_hz=rate,
        sampling=SamplingConfig(),
        audio=AudioConfig(),
        fps=fps,
    ).num_frames
    frames = torch.zeros(240, SIDE, SIDE, 3, dtype=torch.uint8)
    with Mp4Writer(
        path, fps=fps, width=SIDE, height=SIDE, num_frames=num_frames, sound=sound
    ) as writer:
        for first in range(0, num_frames, len(frames)):
            writer.write(frames[: num_frames - first])
    return num_frames


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    is_long = metafunc.config.getoption("--benchmarks")
    metafunc.parametrize("seconds", [10.017, 90.03, 600.011] if is_long else [10.017, 90.03])


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize("fps", [24, 25, 30])
def test_picture_and_sound_last_alike(tmp_path: Path, seconds: float, fps: int, rate: int) -> None:
    path = tmp_path / "film.mp4"
    num_frames = film_of(path, seconds=seconds, fps=fps, rate=rate)
    assert num_frames == round(seconds * fps)
    with av.open(str(path)) as film:
        picture, sound = film.streams.video[0], film.streams.audio[0]
        starts = [stream.start_time * stream.time_base for stream in (picture, sound)]
        lasts = [float(stream.duration * stream.time_base) for stream in (picture, sound)]
        times = {packet.pts for packet in film.demux(picture) if packet.size}
    assert len(times) == num_frames
    # Frames stand at even distances from the first to the last.
    assert (max(times) - min(times)) * picture.time_base == Fraction(num_frames - 1, fps)
    assert starts == [0, 0]
    assert lasts[0] == pytest.approx(num_frames / fps, abs=TICK_S)
    assert lasts[1] == pytest.approx(lasts[0], abs=TICK_S)
    assert abs(lasts[1] - seconds) <= 0.5 / fps + TICK_S
