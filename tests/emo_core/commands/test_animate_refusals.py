"""All that users get wrong on the command line: a message, and nothing left behind."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from animating import animate, write_sound
from PIL import Image

from emo_core.__main__ import main
from emo_core.assets import DEMO_VAE
from emo_core.pipeline import Animator

ROOT = Path(__file__).resolve().parents[3]


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
    files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # Empty, so that it might take pictures but for its name.
    for out in (tmp_path / "none" / "film.mp4", tmp_path / "film.avi", Path(".")):
        assert animate(files, out) == 2
        assert f"{out}:" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_read_or_written_already_is_not_written_over(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    portrait = tmp_path / "face.png"
    shutil.copy(files["portrait"], portrait)
    voice = tmp_path / "voice.mp4"
    shutil.copy(files["audio"], voice)
    own = files | {"portrait": portrait, "audio": voice}
    before = {path: path.read_bytes() for path in (portrait, voice)}
    film, other = tmp_path / "film.mp4", tmp_path / "x" / ".." / "film.mp4"
    (tmp_path / "x").mkdir()
    for out, more, words in (
        (voice, {}, f"--out {voice}: this is the file of --audio too"),
        (film, {"contact_sheet": portrait}, "the file of --portrait too"),
        (film, {"meters": other}, "the file of --out too"),
    ):
        assert animate(own, out, **more) == 2
        assert words in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert not film.exists()


@pytest.mark.parametrize("command", ["animate", "preflight"])
def test_what_would_be_ignored_is_refused(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    for out, option, path, words in (
        ("frames", "soundtrack", files["audio"], "png pictures have no sound"),
        ("film.mp4", "audio-encoder", tmp_path / "none", "brings its own and would not use it"),
    ):
        given = files | {"out": tmp_path / out, option: path}
        options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        assert main([command, *options]) == 2
        assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_vae_of_other_latents(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert animate(files | {"vae": DEMO_VAE}, tmp_path / "film.mp4") == 2
    error = capsys.readouterr().err
    assert "has 8 latent channels, " in error
    assert "needs 4. Give the one that belongs to the checkpoint as --vae" in error


@pytest.mark.parametrize("kind", [MemoryError, torch.OutOfMemoryError])
def test_memory_that_runs_out_is_explained(
    files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Exception],
) -> None:
    error: Exception = kind("no room for 3 GB\nand more lines")

    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(Animator, "film", fail)
    assert animate(files, tmp_path / "film.mp4") == 2
    assert "animate: memory ran out (no room for 3 GB). Expected room" in capsys.readouterr().err
    error = kind()
    assert animate(files, tmp_path / "film.mp4") == 2
    assert f"animate: memory ran out ({kind.__name__}). Expected room" in capsys.readouterr().err
    error = RuntimeError("sizes differ")
    with pytest.raises(RuntimeError, match="sizes differ"):
        animate(files, tmp_path / "film.mp4")


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
