"""An mp4 file plays as promised: lengths, colours, sync, origin; or there is no file at all."""

import json
import os
import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch

from emo_core.audio.waveform import Waveform, read_audio
from emo_core.errors import InputError
from emo_core.video.writer import Mp4Writer

SIDE = 32


def noise(num_frames, *, width=SIDE, height=SIDE):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(num_frames, height, width, 3, generator=generator)


def tone(duration_s, *, rate, num_channels):
    time_s = torch.arange(round(duration_s * rate)) / rate
    return Waveform((0.3 * torch.sin(2764.6 * time_s)).repeat(num_channels, 1), rate)


def write(path, frames, *, fps=25, sound=None, **options):
    size = {"height": frames.shape[1], "width": frames.shape[2]}
    with Mp4Writer(path, fps=fps, num_frames=len(frames), sound=sound, **size, **options) as writer:
        for piece in frames.split(7):
            writer.write(piece)
    return path


def top_level_boxes(path: Path) -> list[tuple[str, bytes]]:
    content, boxes, position = path.read_bytes(), [], 0
    while position < len(content):
        size, name = struct.unpack_from(">I4s", content, position)
        boxes.append((name.decode(), content[position + 8 : position + size]))
        position += size
    return boxes


FILMS = [
    # duration of the frames, fps, rate and channels in the file, rate and channels handed in
    (0.37, 25, 44100, 2, 44100, 2),
    (5.0, 25, 48000, 1, 48000, 1),
    (5.0, 29.97, 8000, 1, 8000, 1),
    (0.37, 30000 / 1001, 96000, 2, 96000, 2),
    (1.0, 24, 96000, 1, 192000, 3),
    (0.04, 25, 12000, 2, 11127, 2),
]


@pytest.mark.parametrize(
    ("duration_s", "fps", "rate", "num_channels", "rate_in", "num_channels_in"), FILMS
)
@pytest.mark.parametrize("sound_share", [0.5, 1.0, 2.0])
def test_picture_and_sound_have_equal_length(
    tmp_path, duration_s, fps, rate, num_channels, rate_in, num_channels_in, sound_share
):
    num_frames = max(1, round(duration_s * fps))
    sound = tone(duration_s * sound_share, rate=rate_in, num_channels=num_channels_in)
    path = write(tmp_path / "a.mp4", noise(num_frames), fps=fps, sound=sound)

    with av.open(str(path)) as container:
        picture, track = container.streams.video[0], container.streams.audio[0]
        assert (picture.codec.name, track.codec.name) == ("h264", "aac")
        assert picture.codec_context.pix_fmt == "yuv420p"
        assert float(picture.average_rate) == pytest.approx(fps, rel=1e-6)
        assert (track.rate, track.layout.nb_channels) == (rate, num_channels)
        length_s = num_frames / fps
        # The file tells lengths in milliseconds.
        assert float(picture.duration * picture.time_base) == pytest.approx(length_s, abs=0.002)
        assert float(track.duration * track.time_base) == pytest.approx(length_s, abs=0.002)
        times = [frame.time for frame in container.decode(picture)]
    assert times == pytest.approx([index / fps for index in range(num_frames)], abs=1e-4)
    assert read_audio(path).duration_s == pytest.approx(length_s, abs=0.002)


def test_few_frames_a_second_with_sound(tmp_path):
    """The encoder is then further behind the sound than FFmpeg waits by itself."""
    sound = tone(75.0, rate=8000, num_channels=1)
    path = write(tmp_path / "a.mp4", noise(75), fps=1, sound=sound)
    with av.open(str(path)) as container:
        lengths = [float(stream.duration * stream.time_base) for stream in container.streams]
    assert lengths == pytest.approx([75.0, 75.0], abs=0.002)


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
def test_another_reader_agrees(tmp_path):
    sound = tone(0.37, rate=44100, num_channels=2)
    path = write(tmp_path / "a.mp4", noise(9), fps=25, sound=sound)
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", str(path)]
    result = subprocess.run(command, capture_output=True, check=True)
    assert result.stderr == b""
    report = json.loads(result.stdout)
    picture, track = report["streams"]
    assert picture["codec_name"] == "h264"
    assert picture["r_frame_rate"] == "25/1"
    assert picture["nb_frames"] == "9"
    assert {picture[key] for key in ("color_space", "color_primaries", "color_transfer")} == {
        "bt709"
    }
    assert picture["color_range"] == "tv"
    assert track["sample_rate"] == "44100"
    for stream in (picture, track):
        assert float(stream["start_time"]) == 0.0
        assert float(stream["duration"]) == pytest.approx(0.36, abs=0.002)


def test_colours_follow_bt709(tmp_path):
    colors = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [224, 172, 140]])
    frames = colors.to(torch.uint8).repeat_interleave(32, dim=0).expand(3, 64, 128, 3)
    path = write(tmp_path / "a.mp4", frames, crf=10)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_range) == (1, 1)
    decoded = frame.to_ndarray(format="rgb24", dst_color_range="JPEG")

    planes = frame.to_ndarray()
    luma, chroma_blue, chroma_red = planes[:64], planes[64:80].reshape(32, 64), planes[80:]
    chroma_red = chroma_red.reshape(32, 64)
    for index, (red, green, blue) in enumerate(colors.double() / 255.0):
        x = 32 * index + 16
        brightness = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        assert luma[32, x] == pytest.approx(16 + 219 * brightness, abs=2)
        truth = 128 + 224 * (blue - brightness) / 1.8556
        assert chroma_blue[16, x // 2] == pytest.approx(truth, abs=2)
        truth = 128 + 224 * (red - brightness) / 1.5748
        assert chroma_red[16, x // 2] == pytest.approx(truth, abs=2)
        assert decoded[32, x].astype(int) == pytest.approx(colors[index].numpy(), abs=4)


def stored_picture(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return b"".join(frame.to_ndarray().tobytes() for frame in container.decode(video=0))


def test_floats_and_bytes_give_the_same_picture(tmp_path):
    stored = (noise(5) * 255).round().to(torch.uint8)
    first, second, third = (
        # Lossless, so that no choice of the encoder counts.
        stored_picture(write(tmp_path / f"{index}.mp4", frames, crf=0))
        for index, frames in enumerate([stored, (stored + 0.4) / 255.0, (stored + 0.6) / 255.0])
    )
    assert first == second != third


@pytest.mark.parametrize(("rate", "fps"), [(44100, 25), (8000, 29.97), (48000, 24)])
def test_a_click_and_a_flash_stay_together(tmp_path, rate, fps):
    num_frames, flash = 80, 47
    frames = torch.zeros(num_frames, SIDE, SIDE, 3)
    frames[flash] = 1.0
    samples = torch.zeros(2, round(num_frames / fps * rate))
    click = round(flash / fps * rate)
    samples[:, click : click + rate // 500] = 0.9
    path = write(tmp_path / "a.mp4", frames, fps=fps, sound=Waveform(samples, rate))

    with av.open(str(path)) as container:
        light = [(frame.to_ndarray().mean(), frame.time) for frame in container.decode(video=0)]
    heard = read_audio(path).samples[0].abs()
    assert max(light)[1] == pytest.approx(flash / fps, abs=1e-3)
    # AAC starts with 1024 samples that are no sound: at 8000 Hz that is four frames.
    assert heard.argmax().item() / rate == pytest.approx(flash / fps, abs=0.005)


def test_odd_sides_grow_by_one_pixel(tmp_path):
    frames = torch.full((2, 33, 35, 3), 0.25)
    frames[:, :, -4:] = 0.75
    path = write(tmp_path / "a.mp4", frames)
    with av.open(str(path)) as container:
        luma = next(container.decode(video=0)).to_ndarray()[:34]
    assert luma.shape == (34, 36)
    assert luma[:, -1] == pytest.approx(luma[:, -3], abs=3)
    assert luma[-1] == pytest.approx(luma[-3], abs=3)


def test_the_file_says_that_its_picture_is_generated(tmp_path):
    path = write(tmp_path / "a.mp4", noise(2), comment="seed 7, <voice> & more")
    with av.open(str(path), options={"export_xmp": "1"}) as container:
        metadata = container.metadata
    note = json.loads(metadata["comment"])
    assert note["generated"] is True
    assert note["comment"] == "seed 7, <voice> & more"
    assert note["digital_source_type"].endswith("/trainedAlgorithmicMedia")
    assert note["digital_source_type"] in metadata["xmp"]
    assert "enerated" in metadata["title"]
    # The index stands in front, so that a browser can start before it has the whole file.
    names = [name for name, _ in top_level_boxes(path)]
    assert names.index("moov") < names.index("mdat")
    assert names[-1] == "uuid"


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_film(tmp_path):
    frames = noise(50, width=64, height=64)
    sound = tone(80.0, rate=16000, num_channels=1)
    sizes = []
    with Mp4Writer(
        tmp_path / "a.mp4", fps=25, width=64, height=64, num_frames=2000, sound=sound, crf=40
    ) as writer:
        for _ in range(40):
            writer.write(frames)
            sizes.append(resident_bytes())
    # 1500 frames of this size are 18 MB; encoder and interleaving are filled before frame 500.
    assert max(sizes[10:]) - sizes[10] < 8_000_000


@pytest.mark.parametrize("num_frames", [4, 6])
def test_a_wrong_number_of_frames_is_an_error(tmp_path, num_frames):
    with (
        pytest.raises(ValueError, match=f"{num_frames} frames came. Expected 5"),
        Mp4Writer(tmp_path / "a.mp4", fps=25, width=SIDE, height=SIDE, num_frames=5) as writer,
    ):
        writer.write(noise(num_frames))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"path": "a.avi"}, "ends in .avi"),
        ({"path": "missing/a.mp4"}, "no folder"),
        ({"path": "a" * 300 + ".mp4"}, "Expected"),
        ({"path": "folder.mp4"}, "is a folder"),
        ({"fps": 0}, "frame rate"),
        ({"fps": float("nan")}, "frame rate"),
        ({"width": 8}, "8 x 32"),
        ({"crf": 52}, "crf"),
        ({"num_frames": 0}, "0 frames"),
        ({"sound": Waveform(torch.full((1, 9), float("nan")), 8000)}, "NaN"),
        ({"sound": Waveform(torch.zeros(1, 0), 8000)}, "empty"),
    ],
)
def test_unusable_settings_are_refused_before_the_first_frame(tmp_path, changes, words):
    (tmp_path / "folder.mp4").mkdir()
    settings = {"path": "a.mp4", "fps": 25, "width": SIDE, "height": SIDE, "num_frames": 5}
    settings.update(changes)
    path = tmp_path / settings.pop("path")
    with pytest.raises(InputError, match=words), Mp4Writer(path, **settings):
        pytest.fail("the writer opened")
    assert [item.name for item in tmp_path.iterdir()] == ["folder.mp4"]


def test_frames_that_cannot_be_stored_are_refused(tmp_path):
    settings = {"fps": Fraction(25), "width": SIDE, "height": SIDE, "num_frames": 9}
    frames = noise(4)
    frames[2, 0, 0, 0] = float("nan")
    with (
        pytest.raises(InputError, match="Frame 5 holds NaN"),
        Mp4Writer(tmp_path / "a.mp4", **settings) as writer,
    ):
        writer.write(noise(3))
        writer.write(frames)
    with (
        pytest.raises(ValueError, match="shape"),
        Mp4Writer(tmp_path / "a.mp4", **settings) as writer,
    ):
        writer.write(noise(1, width=SIDE + 2))
    assert list(tmp_path.iterdir()) == []
