"""The command line from end to end with a toy checkpoint, and all that users get wrong."""

import json
import os
import stat
import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_networks

from emo_core.__main__ import main
from emo_core.audio.waveform import Waveform, read_audio
from emo_core.checkpoints.emo import save_emo
from emo_core.checkpoints.load import save_vae
from emo_core.commands.animate import _Sheet
from emo_core.film import Film
from emo_core.models.vae import VAE
from emo_core.pipeline import Animator
from emo_core.training.vae import initialise

ROOT = Path(__file__).resolve().parents[3]
CLIPS = [(0, 3), (4, 7), (8, 9)]
"""Of a film of 10 frames with the toy checkpoint: first and last frames."""


def write_sound(path: Path, samples: np.ndarray, *, rate: int = 8000) -> Path:
    """16-bit wav; samples [N] or [N, channels] of -1..1."""
    columns = samples[:, None] if samples.ndim == 1 else samples
    with wave.open(str(path), "wb") as file:
        file.setnchannels(columns.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((columns * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A toy checkpoint, a portrait and a voice of 0.38 s: 10 frames at 25 fps."""
    folder = tmp_path_factory.mktemp("toy")
    torch.manual_seed(0)
    save_emo(tiny_networks(), folder / "model.safetensors", dtype=torch.float32)
    vae = VAE(scale=1.0)
    initialise(vae)  # decodes latents to colours, so that what differs in them can be seen
    save_vae(vae, folder / "vae.safetensors", dtype=torch.float32)
    picture = np.random.default_rng(0).integers(0, 255, (80, 96, 3), dtype=np.uint8)
    Image.fromarray(picture).save(folder / "portrait.png")
    voice = 0.5 * np.sin(np.arange(3040) * 0.2)
    return {
        "checkpoint": folder / "model.safetensors",
        "vae": folder / "vae.safetensors",
        "portrait": folder / "portrait.png",
        "audio": write_sound(folder / "voice.wav", voice),
    }


def animate(files: dict[str, Path], out: Path, *words: str, **options: object) -> int:
    """Run the command in this process, with more words at its end; return its status."""
    given = {name: str(path) for name, path in files.items()} | {"out": str(out), "steps": "1"}
    given |= {name.replace("_", "-"): str(value) for name, value in options.items()}
    options = [word for name, value in given.items() for word in (f"--{name}", value)]
    return main(["animate", *options, *words])


def film_frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_film_of_the_right_length(files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "film.mp4"
    assert animate(files, out, contact_sheet=tmp_path / "sheet.png") == 0
    with av.open(str(out)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert video.average_rate == 25
        assert (video.width, video.height) == (64, 64)
        assert audio.rate == 8000, "the original sound, not the encoder's 16 kHz"
    assert len(film_frames(out)) == 10
    assert Image.open(tmp_path / "sheet.png").width > 8 * 64
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "sheet.png"]


def test_the_film_in_the_making_is_named_once(
    files: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert animate(files, tmp_path / "film.mp4") == 0
    assert caplog.text.count(f"{tmp_path / 'film.partial.mp4'}: can be watched") == 1
    assert animate(files, tmp_path / "pictures") == 0
    assert caplog.text.count("can be watched") == 1


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_colours_are_matched_to_what_the_film_shows_of_the_portrait(
    files: dict[str, Path], tmp_path: Path, fit: str
) -> None:
    """Of a portrait wider than the film, whose edges are redder."""
    picture = np.full((80, 160, 3), 90, np.uint8) + np.arange(80, dtype=np.uint8)[:, None, None]
    picture[:, :40] = picture[:, 120:] = (190, 80, 80)
    Image.fromarray(picture).save(tmp_path / "wide.png")
    given = files | {"portrait": tmp_path / "wide.png"}
    seen = {}
    for name, options in (("plain", {}), ("matched", {"match_colour": 1})):
        assert animate(given, tmp_path / name, fit=fit, **options) == 0
        paths = sorted((tmp_path / name).iterdir())
        seen[name] = np.stack([np.asarray(Image.open(path)) for path in paths]) / 255
    shown = picture[:, 40:120] if fit == "crop" else picture
    wanted = shown.reshape(-1, 3).mean(axis=0) / 255
    apart = {name: np.abs(frames[0].mean(axis=(0, 1)) - wanted) for name, frames in seen.items()}
    assert apart["matched"].max() < 0.02 < apart["plain"].max()


def test_soundtrack_is_heard_and_the_voice_seen(files: dict[str, Path], tmp_path: Path) -> None:
    """Its part behind --start, cut at the film's end; the pictures are those of the voice."""
    seconds = np.arange(44100) / 44100
    pitch = np.where(seconds < 0.1, 200.0, 3000.0)
    music = 0.5 * np.sin(2 * np.pi * pitch * seconds)
    soundtrack = write_sound(tmp_path / "music.wav", np.stack([music, music], 1), rate=44100)
    films = {}
    for name, given in (("voice", {}), ("mix", {"soundtrack": soundtrack})):
        films[name] = tmp_path / f"{name}.mp4"
        assert animate(files, films[name], start=0.1, **given) == 0
    assert (film_frames(films["voice"]) == film_frames(films["mix"])).all()
    heard = read_audio(films["mix"])
    assert (heard.sample_rate_hz, len(heard.samples)) == (44100, 2)
    assert heard.duration_s == pytest.approx(len(film_frames(films["mix"])) / 25, abs=0.001)
    spectrum = torch.fft.rfft(heard.samples[0]).abs()
    assert spectrum.argmax() / heard.duration_s == pytest.approx(3000, abs=20)


def test_soundtrack_shorter_than_the_voice(files: dict[str, Path], tmp_path: Path) -> None:
    short = write_sound(tmp_path / "short.wav", 0.5 * np.sin(np.arange(1600) * 0.2))
    assert animate(files, tmp_path / "film.mp4", soundtrack=short) == 0
    heard = read_audio(tmp_path / "film.mp4")
    assert heard.duration_s == pytest.approx(len(film_frames(tmp_path / "film.mp4")) / 25, abs=1e-3)
    assert heard.samples[:, :1400].abs().max() > 0.3 > 0.05 > heard.samples[:, 2600:].abs().max()


def test_gate_silences_what_drives_and_not_what_is_heard(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a second of voice, then noise at -48 dB."""
    driving = []

    def film(animator: Animator, portrait: torch.Tensor, sound: Waveform, **how: object) -> Film:
        driving.append(sound.samples)
        return make_film(animator, portrait, sound, **how)

    make_film = Animator.film
    monkeypatch.setattr(Animator, "film", film)
    sound = 0.5 * np.sin(np.arange(8000) * 0.2) * (np.arange(8000) < 4000)
    sound += 0.004 * np.random.default_rng(0).standard_normal(8000)
    noisy = write_sound(tmp_path / "noisy.wav", sound)
    given = files | {"audio": noisy}
    for name, options in (("open", {}), ("gated", {"gate": -40, "gate_release": 20})):
        assert animate(given, tmp_path / f"{name}.mp4", **options) == 0
    free, gated = driving
    assert (gated[:, 400:3900] - free[:, 400:3900]).abs().max() < 1e-6
    assert gated[:, 5000:].abs().max() < 1e-6 < 0.003 < free[:, 5000:].std()
    pictures = [film_frames(tmp_path / f"{name}.mp4") for name in ("open", "gated")]
    assert (pictures[0] != pictures[1]).any()
    assert read_audio(tmp_path / "gated.mp4").samples[:, 5000:].std() > 0.003


def test_meters_beside_the_film(
    files: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert animate(files, tmp_path / "film.mp4", meters=tmp_path / "meters.json") == 0
    reading = json.loads((tmp_path / "meters.json").read_text(encoding="utf-8"))
    assert [(clip["first_frame"], clip["last_frame"]) for clip in reading["clips"]] == CLIPS
    assert reading["identity_by"] == "ReferenceNet"
    assert reading["num_frames"] == len(film_frames(tmp_path / "film.mp4"))
    assert any("identity: by ReferenceNet" in record.message for record in caplog.records)


def test_what_is_written_last_is_refused_first(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, expected in (
        ({"contact_sheet": tmp_path / "sheet.gif"}, "sheet.gif: the name ends in .gif"),
        ({"contact_sheet": tmp_path / "no" / "sheet.png"}, "there is no folder"),
        ({"meters": tmp_path / "no" / "meters.json"}, "there is no folder"),
        ({"meters": tmp_path}, "this is a folder"),
    ):
        assert animate(files, tmp_path / "film.mp4", **options) == 2
        assert expected in capsys.readouterr().err
        assert not list(tmp_path.iterdir()), "no film was made before that was said"


def test_the_sheets_frames_keep_no_others_in_memory() -> None:
    sheet, part = _Sheet(100), torch.rand(20, 8, 8, 3)
    for _ in range(5):
        sheet.add(part)
    assert len(sheet.picked) == 40
    assert {frame.untyped_storage().nbytes() for frame in sheet.picked} == {part[0].nbytes}


def test_the_same_seed_gives_the_same_pictures(files: dict[str, Path], tmp_path: Path) -> None:
    """Compared as png: an H.264 encoder may spend its bits differently from run to run."""
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert animate(files, tmp_path / name, seed=seed) == 0
    a, b, c = (
        np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / name).iterdir())])
        for name in "abc"
    )
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    "options",
    [
        {"width": 72, "height": 104},
        {"fps": 12.5},
        {"solver": "ddim", "guidance": 1.0},
        {"solver": "unipc", "steps": 3},
        {"speed": 30},
        {"face_region": "0,0,0.3,0.3"},
        {"start": 0.1, "end": 0.3},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_options_that_change_the_film(
    files: dict[str, Path], tmp_path: Path, options: dict[str, object]
) -> None:
    assert animate(files, tmp_path / "plain.mp4") == 0
    assert animate(files, tmp_path / "other.mp4", **options) == 0
    plain, other = film_frames(tmp_path / "plain.mp4"), film_frames(tmp_path / "other.mp4")
    assert plain.shape != other.shape or not np.array_equal(plain, other)
    if "width" in options:
        assert other.shape[1:] == (104, 72, 3)
    if "fps" in options:
        assert len(other) == 5
    if "start" in options:
        assert len(other) == 5


def test_png_pictures(files: dict[str, Path], tmp_path: Path) -> None:
    assert animate(files, tmp_path / "pictures") == 0
    assert len(list((tmp_path / "pictures").glob("frame_*.png"))) == 10


def test_accepted_pictures_and_sounds(files: dict[str, Path], tmp_path: Path) -> None:
    picture = Image.open(files["portrait"])
    picture.convert("L").save(tmp_path / "grey.png")
    picture.convert("RGBA").save(tmp_path / "rgba.png")
    stereo = np.random.default_rng(0).uniform(-0.5, 0.5, (8820, 2))
    write_sound(tmp_path / "stereo.wav", stereo, rate=44100)
    for name in ("grey", "rgba"):
        changed = files | {"portrait": tmp_path / f"{name}.png", "audio": tmp_path / "stereo.wav"}
        assert animate(changed, tmp_path / f"{name}.mp4") == 0
        assert len(film_frames(tmp_path / f"{name}.mp4")) == 5


def test_mask_of_another_size_is_fitted(files: dict[str, Path], tmp_path: Path) -> None:
    mask = np.zeros((40, 48), np.uint8)
    mask[10:30, 10:30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert animate(files, tmp_path / "film.mp4", face_region=tmp_path / "mask.png") == 0


def bad_files(files: dict[str, Path], folder: Path) -> dict[str, tuple[str, Path, str]]:
    """Name of a case -> (option, file, part of the message)."""
    empty = folder / "empty.png"
    empty.write_bytes(b"")
    torn = folder / "torn.png"
    torn.write_bytes(files["portrait"].read_bytes()[:500])
    black = folder / "black.png"
    Image.new("L", (64, 64)).save(black)
    cut = folder / "cut.safetensors"
    cut.write_bytes(files["checkpoint"].read_bytes()[:10_000])
    silent = write_sound(folder / "silent.wav", np.zeros(8000))
    nothing = write_sound(folder / "nothing.wav", np.zeros(0))
    not_a_number = folder / "nan.wav"
    with av.open(str(not_a_number), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.full((1, 8000), np.nan, np.float32), format="flt", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    return {
        "no portrait": ("portrait", folder / "none.png", "none.png"),
        "empty portrait": ("portrait", empty, "empty"),
        "torn portrait": ("portrait", torn, "torn.png"),
        "sound as portrait": ("portrait", files["audio"], "voice.wav"),
        "portrait as sound": ("audio", files["portrait"], "portrait.png"),
        "no sound": ("audio", folder / "none.wav", "none.wav"),
        "silent sound": ("audio", silent, "silent"),
        "sound of no length": ("audio", nothing, "nothing.wav"),
        "sound of NaN": ("audio", not_a_number, "nan.wav"),
        "no soundtrack": ("soundtrack", folder / "none.wav", "none.wav"),
        "portrait as soundtrack": ("soundtrack", files["portrait"], "portrait.png"),
        "empty mask": ("face_region", black, "black.png"),
        "no mask": ("face_region", folder / "none.png", "neither four numbers"),
        "cut checkpoint": ("checkpoint", cut, "not a whole safetensors file"),
        "vae as checkpoint": ("checkpoint", files["vae"], "is a VAE; expected a model"),
        "checkpoint as vae": ("vae", files["checkpoint"], "expected a VAE"),
    }


def test_bad_files(
    files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    subtests: pytest.Subtests,
) -> None:
    (tmp_path / "out").mkdir()
    for case, (option, path, message) in bad_files(files, tmp_path).items():
        with subtests.test(case):
            changed = {name: value for name, value in files.items() if name != option}
            assert animate(changed, tmp_path / "out" / "film.mp4", **{option: path}) == 2
            error = capsys.readouterr().err
            assert "error: " in error
            assert message in error
            assert not list((tmp_path / "out").iterdir()), "something was left behind"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 100}, "size 100x64: both sides must be multiples of 8"),
        ({"steps": 0}, "--steps 0: expected at least 1"),
        ({"fps": 0}, "--fps 0"),
        ({"speed": 500}, "head speed 500: expected 0 to 60"),
        ({"face_region": "0.5,0.1,0.4,0.9"}, "0 <= x0 < x1 <= 1"),
        ({"start": 9}, "voice.wav"),
        ({"gate": 6}, "a threshold of 6.0 dB"),
        ({"gate": -1}, "behind a gate of -1 dB: the sound is silent"),
        ({"gate": -45, "gate_attack": 0}, "attack of 0.0 ms"),
        ({"gate_attack": 5}, "--gate-attack 5: does nothing without a gate"),
        ({"gate_release": 50}, "--gate-release 50: does nothing without a gate"),
        ({"anchor_share": 0.5}, "--anchor-share 0.5: does nothing by itself"),
        ({"anchor_every": 2, "anchor_share": 1.5}, "--anchor-share 1.5: expected 0 to 1"),
        ({"match_colour": 2}, "colour matching with a strength of 2. Expected 0 to 1"),
        ({"device": "abacus"}, "device 'abacus': cannot be used"),
    ],
    ids=str,
)
def test_bad_settings(
    files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, object],
    message: str,
) -> None:
    assert animate(files, tmp_path / "film.mp4", **options) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_bad_outputs(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in (tmp_path / "none" / "film.mp4", tmp_path / "film.avi"):
        assert animate(files, out) == 2
        assert str(out) in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_leave_to_write(files: dict[str, Path], tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert animate(files, tmp_path / "film.mp4") == 2


def test_interrupt_leaves_no_file(files: dict[str, Path], tmp_path: Path) -> None:
    """A real signal to a real process while it samples."""
    script = (
        "import os, signal, sys\n"
        # A shell that runs tests in the background has its children ignore the signal.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from emo_core import sampler\n"
        "plain = sampler.guided\n"
        "def guided(*values, **options):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return plain(*values, **options)\n"
        "sampler.guided = guided\n"
        "from emo_core.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["animate", "--out", str(tmp_path / "film.mp4")]
    words += [word for name, path in files.items() for word in (f"--{name}", str(path))]
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert "stopped" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_info(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(files["checkpoint"])]) == 0
    text = capsys.readouterr().out
    assert "family    emo" in text
    assert "licence   Apache-2.0" in text
    assert "part      reference_net:" in text
    config = json.loads(text.split("config    ")[1])
    assert config["backbone"]["unet"]["block_out_channels"] == [16, 32]
    assert main(["info", str(files["portrait"])]) == 2


def test_a_retake_changes_its_part_alone(files: dict[str, Path], tmp_path: Path) -> None:
    """Frames 4 and 5 with a blend of two; pictures as png, since a codec looks around."""
    kept = {"store": tmp_path / "store", "steps": 2}
    assert animate(files, tmp_path / "old", **kept) == 0
    clips = len(list((tmp_path / "store").iterdir()))
    words = ["--retake", "0.16", "0.24", "seed=9", "audio-weight=1.5", "blend=2"]
    assert animate(files, tmp_path / "new", *words, **kept) == 0
    assert len(list((tmp_path / "store").iterdir())) == clips + 1
    for index in range(10):
        name = f"frame_{index:06}.png"
        old, new = (np.asarray(Image.open(tmp_path / f / name)) for f in ("old", "new"))
        assert (old != new).any() == (4 <= index < 8), name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("0.1", "expected start and end"),
        ("0.1 x", "'x' is not a number"),
        ("0.1 0.2 sed=1", "'sed=1' is not one of seed, speed"),
        ("0.1 0.2 seed=1 seed=2", "comes twice"),
        ("0.1 0.2 seed=1.5", "'1.5' is not a number"),
        ("0.3 0.2", "a start before its end"),
        ("0.1 0.2 speed=999", "999"),
        ("0.1 0.2 blend=0", "0 frames in which the new take"),
    ],
)
def test_retakes_that_cannot_be(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture, words: str, message: str
) -> None:
    assert animate(files, tmp_path / "film.mp4", "--retake", *words.split()) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
