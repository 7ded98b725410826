"""The command line from end to end with a toy checkpoint."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from animating import animate, film_frames, write_sound
from PIL import Image

from emo_core.audio.waveform import Waveform, read_audio
from emo_core.commands.animate import _Sheet
from emo_core.film import Film
from emo_core.pipeline import Animator

ROOT = Path(__file__).resolve().parents[3]
CLIPS = [(0, 3), (4, 7), (8, 9)]
"""Of a film of 10 frames with the toy checkpoint: first and last frames."""


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
