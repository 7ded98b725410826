"""A film can be watched while it is written, after a kill too, and ends as if nobody had looked."""

import os
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from emo_core.audio.waveform import Waveform, read_audio
from emo_core.video.writer import Mp4Writer

ROOT = Path(__file__).resolve().parents[3]
SIDE = 32
LAG = 60
"""Frames that the partial film may be behind: 40 that libx264 looks ahead, its threads, its
B-frames, and half a second of fragment."""


def noise(num_frames, *, side=SIDE):
    return torch.rand(num_frames, side, side, 3, generator=torch.Generator().manual_seed(0))


def hiss(duration_s, *, rate):
    samples = torch.randn(2, round(duration_s * rate), generator=torch.Generator().manual_seed(1))
    return Waveform(0.1 * samples, rate)


def num_playable(path, kind="video"):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(**{kind: 0}))


def packets(path):
    with av.open(str(path)) as container:
        return [
            (packet.stream_index, packet.pts, packet.dts, packet.duration, bytes(packet))
            for packet in container.demux()
        ]


def test_the_partial_film_grows_and_is_never_far_behind(tmp_path):
    path, seen = tmp_path / "film.mp4", []
    sound = hiss(12.0, rate=44100)
    with Mp4Writer(path, fps=25, width=SIDE, height=SIDE, num_frames=300, sound=sound) as writer:
        assert writer.partial_path == tmp_path / "film.partial.mp4"
        for piece in noise(300).split(20):
            writer.write(piece)
            seen.append(num_playable(writer.partial_path))
            assert 0 <= writer.num_written - seen[-1] <= LAG
        assert not path.exists()
        assert num_playable(writer.partial_path, "audio") * 1024 >= (300 - LAG) / 25 * 44100
        with av.open(str(writer.partial_path)) as container:
            picture, track = container.streams.video[0], container.streams.audio[0]
            frame = next(container.decode(picture))
            assert "generated" in container.metadata["comment"]
            assert (frame.colorspace, frame.color_range) == (1, 1)
            assert (picture.average_rate, track.rate) == (25, 44100)
    assert seen == sorted(seen)
    assert len(set(seen)) >= 8
    assert list(tmp_path.iterdir()) == [path]
    assert num_playable(path) == 300


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_another_player_reads_the_partial_film(tmp_path):
    path = tmp_path / "film.mp4"
    with Mp4Writer(path, fps=25, width=SIDE, height=SIDE, num_frames=200) as writer:
        writer.write(noise(150))
        played = subprocess.run(
            ["ffmpeg", "-v", "error", "-i", str(writer.partial_path), "-f", "framemd5", "-"],
            capture_output=True,
            text=True,
            check=True,
        )
        writer.write(noise(50))
    rows = [row for row in played.stdout.splitlines() if not row.startswith("#")]
    assert played.stderr == ""
    assert len(rows) >= 150 - LAG


WRITE_FOREVER = """
import sys, torch
from emo_core.audio.waveform import Waveform
from emo_core.video.writer import Mp4Writer
sound = Waveform(torch.zeros(1, 16000), 16000)
with Mp4Writer(
    sys.argv[1], fps=25, width=32, height=32, num_frames=10**6, sound=sound
) as writer:
    while True:
        writer.write(torch.rand(10, 32, 32, 3))
        print(writer.num_written, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_program_leaves_a_film_that_plays(tmp_path):
    path, partial = tmp_path / "film.mp4", tmp_path / "film.partial.mp4"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_FOREVER, str(path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    num_written = 0
    while num_written < 200:
        num_written = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    assert not path.exists()
    num_left = num_playable(partial)
    assert num_left >= num_written - LAG
    (hidden,) = tmp_path.glob(".emo-*.part")
    a_week_ago = partial.stat().st_mtime - 7 * 24 * 3600
    os.utime(hidden, (a_week_ago, a_week_ago))
    with Mp4Writer(path, fps=25, width=SIDE, height=SIDE, num_frames=5) as writer:
        assert writer.partial_path == tmp_path / "film.partial-2.mp4"
        writer.write(noise(5))
    # The killed program's film is its user's; the hidden file, which does not play, is nobody's.
    assert set(tmp_path.iterdir()) == {path, partial}
    assert num_playable(partial) == num_left


def write_by_pyav_alone(path, frames, sound):
    """An ordinary mp4 with its index in front."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        picture = container.add_stream("libx264", rate=25)
        picture.width = picture.height = SIDE
        picture.pix_fmt = "yuv420p"
        picture.options = {"crf": "18"}
        encoder = picture.codec_context
        encoder.color_primaries = encoder.color_trc = encoder.colorspace = encoder.color_range = 1
        track = container.add_stream("aac", rate=sound.sample_rate_hz, layout="stereo")
        track.bit_rate = 2 * 96_000
        samples = sound.samples.numpy()
        for index, frame in enumerate((frames * 255).round().byte().numpy()):
            image = av.VideoFrame.from_ndarray(frame, format="rgb24")
            image = image.reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            image.pts, image.time_base = index, Fraction(1, 25)
            container.mux(picture.encode(image))
            first, last = (round(i * sound.sample_rate_hz / 25) for i in (index, index + 1))
            piece = np.ascontiguousarray(samples[:, first:last])
            piece = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
            piece.sample_rate, piece.pts = sound.sample_rate_hz, first
            piece.time_base = Fraction(1, sound.sample_rate_hz)
            container.mux(track.encode(piece))
        container.mux(picture.encode(None))
        container.mux(track.encode(None))


@pytest.mark.parametrize("rate", [44100, 48000])
def test_the_finished_film_is_the_one_that_pyav_writes_alone(tmp_path, rate):
    frames, sound = noise(120), hiss(4.8, rate=rate)
    path, plain = tmp_path / "film.mp4", tmp_path / "plain.mp4"
    with Mp4Writer(path, fps=25, width=SIDE, height=SIDE, num_frames=120, sound=sound) as writer:
        writer.write(frames)
    write_by_pyav_alone(plain, frames, sound)
    assert packets(path) == packets(plain)
    with av.open(str(path)) as film, av.open(str(plain)) as other:
        assert film.duration == other.duration
        for ours, theirs in zip(film.streams, other.streams, strict=True):
            assert (ours.duration, ours.start_time) == (theirs.duration, theirs.start_time)
    content = path.read_bytes()
    assert content[4:8] == b"ftyp"
    assert content.index(b"moov") < content.index(b"mdat")
    assert b"moof" not in content


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize("fps", [24, 25, 30])
def test_picture_and_sound_end_together(tmp_path, fps, rate):
    num_frames = 10 * fps
    path, sound = tmp_path / "film.mp4", hiss(10.0, rate=rate)
    settings = {"fps": fps, "width": 16, "height": 16, "num_frames": num_frames, "sound": sound}
    with Mp4Writer(path, **settings) as writer:
        for piece in noise(num_frames, side=16).split(50):
            writer.write(piece)
    with av.open(str(path)) as container:
        picture, track = container.streams.video[0], container.streams.audio[0]
        lengths = [float(stream.duration * stream.time_base) for stream in (picture, track)]
        assert float(container.duration / av.time_base) == pytest.approx(10.0, abs=0.002)
    assert lengths == pytest.approx([10.0, 10.0], abs=0.002)
    assert num_playable(path) == num_frames
    assert read_audio(path).duration_s == pytest.approx(10.0, abs=0.5 / fps)
