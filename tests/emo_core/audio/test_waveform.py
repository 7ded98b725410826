"""Sound of every kind comes in at the right length and position; bad files say what is wrong."""

import math
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torchaudio

from emo_core.audio import waveform
from emo_core.audio.waveform import (
    Waveform,
    check_waveform,
    num_video_frames,
    read_audio,
    resample,
    to_mono,
)
from emo_core.errors import InputError

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def sine(frequency_hz: float, *, rate: int, num_samples: int) -> np.ndarray:
    time_s = np.arange(num_samples) / rate
    return (0.5 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def save(path: Path, codec: str, samples: np.ndarray, *, rate: int) -> Path:
    """Encode (C, N) samples with FFmpeg."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = LAYOUTS[samples.shape[0]]
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples, np.float32), format="fltp", layout=stream.layout.name
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate", "tolerance"),
    [
        ("a.wav", "pcm_s16le", 44100, 1e-4),
        ("a.wav", "pcm_f32le", 22050, 0.0),
        ("a.flac", "flac", 48000, 1e-4),
        ("a.mp3", "libmp3lame", 44100, 0.08),
        ("a.m4a", "aac", 44100, 0.08),
        ("a.ogg", "libopus", 48000, 0.08),
        ("a.mov", "aac", 8000, 0.08),
    ],
)
def test_every_format_keeps_length_rate_and_channels(tmp_path, name, codec, rate, tolerance):
    num_samples = rate + 123
    channels = [sine(hz, rate=rate, num_samples=num_samples) for hz in (440, 660)]
    sound = read_audio(save(tmp_path / name, codec, np.stack(channels), rate=rate))
    assert sound.sample_rate_hz == rate
    assert sound.samples.shape[0] == 2
    assert sound.samples.dtype == torch.float32
    # mp4 files tell their length in milliseconds.
    assert abs(sound.samples.shape[1] - num_samples) <= rate // 1000
    # Lossy coders ring where a tone sets in. A shift by 3 samples would exceed the tolerance.
    middle = slice(rate // 3, rate * 2 // 3)
    for channel, truth in zip(sound.samples, channels, strict=True):
        error = channel[middle] - torch.from_numpy(truth)[middle]
        assert error.abs().amax() <= tolerance


def test_a_part_is_cut_at_exact_samples(tmp_path):
    path = save(tmp_path / "a.mp3", "libmp3lame", np.random.rand(1, 88200) - 0.5, rate=44100)
    whole = read_audio(path)
    part = read_audio(path, start_s=0.5, end_s=1.25)
    assert torch.equal(part.samples, whole.samples[:, 22050 : round(1.25 * 44100)])
    assert read_audio(path, start_s=1.9).duration_s == pytest.approx(whole.duration_s - 1.9)


def test_surround_becomes_stereo_and_keeps_the_centre(tmp_path):
    surround = np.zeros((6, 8000), np.float32)
    surround[2] = 0.5
    sound = read_audio(save(tmp_path / "a.wav", "pcm_s16le", surround, rate=8000))
    assert sound.samples.shape == (2, 8000)
    assert (sound.samples > 0.3).all()


def picture_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    return path


def bad_files(folder: Path) -> dict[str, Path]:
    noise = np.random.default_rng(0).random((1, 44100)) - 0.5
    with_nan = noise.astype(np.float32)
    with_nan[0, 77] = math.nan
    whole = save(folder / "whole.m4a", "aac", noise, rate=44100).read_bytes()
    contents = {
        "empty.wav": b"",
        "bytes.wav": np.random.default_rng(1).bytes(5000),
        "text.mp3": b"not a sound\n" * 500,
        "cut.m4a": whole[: len(whole) // 2],
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    files = {name: folder / name for name in contents}
    files["missing"] = folder / "missing.wav"
    files["endless name"] = folder / ("a" * 300)
    files["folder"] = folder
    files["nan"] = save(folder / "nan.wav", "pcm_f32le", with_nan, rate=44100)
    files["no samples"] = folder / "none.wav"
    with wave.open(str(files["no samples"]), "wb") as file:
        file.setparams((1, 2, 44100, 0, "NONE", "NONE"))
    files["no sound"] = picture_only(folder / "film.mp4")
    return files


def test_bad_files_are_named_and_explained(tmp_path):
    words = {
        "missing": "no such file",
        "endless name": "no such file",
        "folder": "a folder",
        "nan": "1 of 44100 samples are NaN",
        "no sound": "no sound in this file",
        "no samples": "no sound that can be decoded",
    }
    for kind, path in bad_files(tmp_path).items():
        with pytest.raises(InputError) as caught:
            read_audio(path)
        message = str(caught.value)
        assert message.startswith(str(path)), kind
        assert "Expected" in message, kind
        assert words.get(kind, "cannot be decoded") in message, kind


def test_a_file_with_few_damaged_packets_is_read_with_a_warning(tmp_path, caplog):
    noise = np.random.default_rng(0).random((1, 3 * 44100)) - 0.5
    content = save(tmp_path / "whole.flac", "flac", noise, rate=44100).read_bytes()
    path = tmp_path / "cut.flac"
    path.write_bytes(content[: len(content) * 6 // 10])
    assert read_audio(path).duration_s == pytest.approx(1.8, abs=0.15)
    assert "left out 1 damaged audio packets" in caplog.text
    path.write_bytes(content[: len(content) // 20])
    with pytest.raises(InputError, match="audio packets are damaged"):
        read_audio(path)


@pytest.mark.parametrize(
    ("start_s", "end_s"),
    [(1.0, None), (0.5, 1.1), (-0.1, None), (0.5, 0.5), (0.8, 0.2), (math.nan, None)],
)
def test_a_part_outside_the_sound_is_refused(tmp_path, start_s, end_s):
    path = save(tmp_path / "a.wav", "pcm_s16le", np.full((1, 8000), 0.1), rate=8000)
    with pytest.raises(InputError, match="Expected"):
        read_audio(path, start_s=start_s, end_s=end_s)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (torch.zeros(1, 0), "no samples"),
        (torch.full((2, 50), math.inf), "100 of 100 samples"),
        (torch.full((1, 50), 9e-6), "silent"),
        (torch.tensor([[0.5] * 50, [-0.5] * 50]), "2 channels cancel each other"),
    ],
)
def test_unusable_waveforms_are_refused(samples, words):
    with pytest.raises(InputError, match=f"^the voice: .*{words}"):
        check_waveform(Waveform(samples, 16000), name="the voice")


def test_a_quiet_waveform_is_accepted():
    check_waveform(Waveform(torch.full((1, 50), 2e-5), 16000), name="the voice")


@pytest.mark.parametrize("rate", [8000, 11127, 16000, 22050, 44100, 48000, 96000])
def test_mono_has_the_exact_length_and_the_same_tone(rate):
    num_samples = rate // 2 + 7
    tone = torch.from_numpy(sine(440, rate=rate, num_samples=num_samples))
    mono = to_mono(Waveform(torch.stack([tone * 1.5, tone * 0.5]), rate), sample_rate_hz=16000)
    assert mono.shape == (round(num_samples * 16000 / rate),)
    truth = torch.from_numpy(sine(440, rate=16000, num_samples=mono.shape[0]))
    # The filter has no past and no future at the ends.
    assert (mono - truth)[200:-200].abs().amax() < 0.005


@pytest.mark.parametrize(
    ("rate", "wanted"), [(44100, 16000), (48000, 16000), (8000, 16000), (11025, 16000), (500, 499)]
)
def test_a_long_sound_is_resampled_as_if_at_once(rate, wanted, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    sound = Waveform(torch.randn(2, 3 * rate + 77, generator=generator), rate)
    at_once = torchaudio_resampled(sound, wanted)
    monkeypatch.setattr(waveform, "STRETCH_SAMPLES", rate // 3 + 1)
    made = resample(sound, sample_rate_hz=wanted).samples
    assert made.shape == at_once.shape
    assert (made - at_once).abs().max() < 1e-5
    mono = to_mono(sound, sample_rate_hz=wanted)
    assert (mono - at_once.mean(dim=0)).abs().max() < 1e-5


def torchaudio_resampled(sound, wanted):
    samples = torchaudio.functional.resample(sound.samples, sound.sample_rate_hz, wanted)
    return samples[:, : round(sound.samples.shape[-1] * wanted / sound.sample_rate_hz)]


@pytest.mark.parametrize(("start_s", "end_s"), [(0.0, None), (0.3, None), (0.0, 0.7), (0.31, 0.9)])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_on_the_disk_is_the_sound_in_memory(tmp_path, channels, start_s, end_s):
    noise = np.random.default_rng(0).random((channels, 44100)) - 0.5
    path = save(tmp_path / "a.wav", "pcm_f32le", noise.astype(np.float32), rate=44100)
    in_memory = read_audio(path, start_s=start_s, end_s=end_s)
    on_disk = read_audio(path, start_s=start_s, end_s=end_s, folder=tmp_path)
    assert torch.equal(on_disk.samples, in_memory.samples)
    on_disk.release()
    assert torch.equal(on_disk.samples, in_memory.samples)
    assert on_disk.file is not None and in_memory.file is None


def test_resampling_one_sample_leaves_one():
    sound = resample(Waveform(torch.ones(2, 1), 48000), sample_rate_hz=8000)
    assert sound.samples.shape == (2, 1)
    assert sound.sample_rate_hz == 8000


def test_frame_counts_are_rounded_and_never_zero():
    assert num_video_frames(4.99, fps=25) == 125
    assert num_video_frames(5.005, fps=29.97) == 150
    assert num_video_frames(0.001, fps=25) == 1
    with pytest.raises(InputError, match="frame rate"):
        num_video_frames(1.0, fps=0)
