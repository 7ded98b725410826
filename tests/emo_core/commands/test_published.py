"""The published families on the command line, with the kits' narrow networks."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from parity_kit import CHECKPOINTS, kit
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from emo_core.__main__ import main
from emo_core.commands.face import _read_array
from emo_core.errors import InputError

VAE_FILE = "sd-vae-ft-mse/diffusion_pytorch_model.safetensors"
FRAMES = {"hallo": 8, "echomimic": 7, "vexpress": 9}
"""Of 0.3 s at 25, 24 and 30 frames per second."""


@pytest.fixture(scope="module", params=CHECKPOINTS)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A family's folder with everything that `animate` needs."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    found = kit(name)
    (folder / "checkpoint").mkdir()
    found.save(folder / "checkpoint", *CHECKPOINTS[name])
    save_file(found.files.get(VAE_FILE, kit("vexpress").files[VAE_FILE]), folder / "v.safetensors")
    encoder = next(key for key in found.files if "whisper" in key or "wav2vec2" in key)
    torch.save(found.files[encoder], folder / "encoder.pt")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (90, 80, 3), dtype=np.uint8)).save(folder / "face.png")
    save_sound(folder / "voice.wav", rng.standard_normal(4800) * 0.1)
    np.save(folder / "landmarks.npy", rng.random((478, 2)) * (40, 50) + (20, 20))
    np.save(folder / "identity.npy", rng.standard_normal(512))
    return {"name": name, "folder": folder}


def save_sound(path: Path, samples: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        values = (samples * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def animate(files: dict, out: Path, **options: object) -> int:
    folder = files["folder"]
    chosen = {
        "portrait": folder / "face.png",
        "audio": folder / "voice.wav",
        "out": out,
        "checkpoint": folder / "checkpoint",
        "vae": folder / "v.safetensors",
        "audio-encoder": folder / "encoder.pt",
        "width": 64,
        "height": 64,
        "steps": 2,
    } | options
    return main(["animate", *(str(x) for k, v in chosen.items() for x in (f"--{k}", v))])


def frames_of(path: Path) -> Tensor:
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(pictures)).float()


def test_a_film_of_every_family(files: dict, tmp_path: Path) -> None:
    assert animate(files, tmp_path / "film.mp4") == 0
    film = frames_of(tmp_path / "film.mp4")
    assert film.shape == (FRAMES[files["name"]], 64, 64, 3)
    assert film.std() > 1.0


def test_meters_of_every_family(files: dict, tmp_path: Path) -> None:
    """Lip sync is left out: what reads mouths knows drawn faces only."""
    path = tmp_path / "meters.json"
    assert animate(files, tmp_path / "film.mp4", meters=path) == 0
    reading = json.loads(path.read_text(encoding="utf-8"))
    assert reading["num_frames"] == FRAMES[files["name"]]
    assert reading["identity_by"] == "ReferenceNet"
    assert -1.0 <= reading["identity"] <= 1.0
    assert reading["lip_sync"] is None


def test_where_the_face_is_and_how_the_voice_counts(files: dict, tmp_path: Path) -> None:
    landmarks = files["folder"] / "landmarks.npy"
    ways = {
        "usual": {},
        "landmarks": {"landmarks": landmarks, "fit": "stretch"},
        "box": {"face-box": "20,20,60,70", "fit": "face"},
        "weights": {"area-weights": "0,1,2", "reference-weight": 0.5, "audio-weight": 1.5},
    }
    films = {}
    for name, options in ways.items():
        # A png folder keeps what a video's compression would blur.
        assert animate(files, tmp_path / name, **options) == 0, name
        pictures = sorted((tmp_path / name).glob("*.png"))
        films[name] = np.stack([np.asarray(Image.open(path)) for path in pictures])
    for name in ways:
        if name != "usual":
            assert (films[name] != films["usual"]).any(), name


def test_identity_is_hallos_alone(files: dict, tmp_path: Path, capsys) -> None:
    identity = files["folder"] / "identity.npy"
    status = animate(files, tmp_path / "film.mp4", identity=identity)
    assert status == (0 if files["name"] == "hallo" else 2)
    if status:
        assert "know none. Leave it out." in capsys.readouterr().err
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"face-box": "1,2,3"}, "expected four numbers"),
        ({"face-box": "60,20,20,70"}, "expected four numbers"),
        ({"face-box": "500,500,600,600"}, "outside of what a film of 64x64 shows"),
        ({"fit": "face"}, "needs to know the face. Give its box"),
        ({"face-box": "1,2,30,40", "face-region": "0,0,1,1"}, "expected one of them at most"),
        ({"landmarks": "none.npy"}, "no such file"),
        ({"area-weights": "1,2"}, "expected three numbers of 0 to 10"),
        ({"audio-weight": "-1"}, "expected at least 0"),
        ({"speed": "12"}, "has no speed layers"),
    ],
)
def test_bad_options(files: dict, tmp_path: Path, capsys, options: dict, message: str) -> None:
    assert animate(files, tmp_path / "film.mp4", **options) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_bad_arrays(tmp_path: Path) -> None:
    def read(path: Path) -> Tensor:
        return _read_array(path, what="an embedding", shape=(512,))

    np.save(tmp_path / "short.npy", np.zeros(3))
    np.save(tmp_path / "nan.npy", np.full(512, np.nan))
    np.savez(tmp_path / "many.npz", a=np.zeros(512))
    np.save(tmp_path / "code.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "empty.npy").write_bytes(b"")
    for path in tmp_path.iterdir():
        with pytest.raises(InputError, match=r"Expected an embedding as a NumPy array of shape"):
            read(path)
