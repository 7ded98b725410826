"""The memory of a whole render at 10 s, 90 s and 10 minutes of film (`make bench`).

The peak resident set of each length must lie within 5 % of the shortest's: on the command line, and
in a ComfyUI server through the stitcher and clip by clip through an upscaler. The command line has
a process for every film. The server has one for all: a short film first loads models and modules,
and the peak is reset before every other film, so that imports do not count as growth. What Load
Audio of ComfyUI holds, the samples of the whole sound, is printed and left out of the comparison.

Numbers do not depend on the denoising steps; there is one. glibc keeps more or less of what was
freed, which moves peaks by 4 % from run to run; here it returns every large piece, which moves
them by 0.1 %.

Needs Linux, 2 GB of memory and 1 GB of disk. Ten minutes of the demo's film take half an hour on
one core, the toy's matrix as long: `-k "demo"`, `-k "toy"` or `-k "comfyui"` choose.
"""

import os
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import pytest
import torch
from comfyui import find_comfyui
from tiny import tiny_networks

from emo_core.assets import DEMO_CHECKPOINT, DEMO_VAE, PORTRAIT, VOICE
from emo_core.audio.waveform import read_audio, resample
from emo_core.checkpoints.emo import save_emo
from emo_core.checkpoints.load import save_vae
from emo_core.models.vae import VAE

ROOT = Path(__file__).resolve().parents[2]
COMFYUI = find_comfyui()
LENGTHS_S = (10, 90, 600)
TOLERANCE = 0.05
WARM_UP_S = 2
SIDE = 64
"""Pixels; of the demo's 128, to take a third of the time."""
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}

RENDER = """
import sys
from emo_core.__main__ import main

status = main(sys.argv[1:])
with open("/proc/self/status") as rows:
    print(*(row.split()[1] for row in rows if row.startswith("VmHWM")))
sys.exit(status)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@dataclass(frozen=True)
class Checkpoint:
    model: Path
    vae: Path


@dataclass(frozen=True)
class Render:
    """What one film took."""

    name: str
    film: Path
    peak_bytes: int
    seconds: float
    sound_bytes: int = 0
    """Of the peak, what ComfyUI's own Load Audio holds: the whole sound."""

    @property
    def own_bytes(self) -> int:
        return self.peak_bytes - self.sound_bytes


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("toy")
    made = Checkpoint(folder / "toy.safetensors", folder / "toy_vae.safetensors")
    save_emo(tiny_networks(), made.model, dtype=torch.float32)
    torch.manual_seed(0)
    save_vae(VAE(scale=1.0), made.vae, dtype=torch.float32)
    return made


def save_voice(folder: Path, seconds: int, *, rate: int, channels: int) -> Path:
    """The bundled voice of five seconds over and over, as a wav file."""
    voice = resample(read_audio(VOICE), sample_rate_hz=rate)
    piece = (voice.samples[:1].expand(channels, -1).T * 32767).short().numpy().tobytes()
    path = folder / f"{seconds}s_{rate}_{channels}.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        num_bytes = seconds * rate * channels * 2
        while num_bytes > 0:
            file.writeframesraw(piece[:num_bytes])
            num_bytes -= len(piece)
    return path


def render(checkpoint: Checkpoint, voice: Path, out: Path, *options: str) -> Render:
    """`animate` in a process of its own."""
    call = ["animate", "--checkpoint", checkpoint.model, "--vae", checkpoint.vae]
    call += ["--portrait", PORTRAIT, "--audio", voice, "--steps", "1", "--out", out, *options]
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", RENDER, *map(str, call)],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    name = " ".join([voice.stem, *options])
    return Render(name, out, int(done.stdout) * 1024, time.perf_counter() - begun)


def check_film(path: Path, *, seconds: float, fps: float) -> None:
    """Frames and lengths, as another program's reader sees them."""
    with av.open(str(path)) as film:
        picture, sound = film.streams.video[0], film.streams.audio[0]
        assert sum(packet.size > 0 for packet in film.demux(picture)) == round(seconds * fps)
        lasts_s = [float(stream.duration * stream.time_base) for stream in (picture, sound)]
    assert lasts_s[0] == pytest.approx(round(seconds * fps) / fps, abs=0.002)
    assert lasts_s[1] == pytest.approx(lasts_s[0], abs=1 / fps)


def check_growth(renders: list[Render]) -> None:
    print()
    first = renders[0]
    for made in renders:
        growth = made.peak_bytes / first.peak_bytes - 1
        own_growth = made.own_bytes / first.own_bytes - 1
        print(
            f"{made.name:56} {made.peak_bytes / 1e6:7.1f} MB {growth:+7.2%} "
            f"({own_growth:+.2%} of its own) {made.seconds:5.0f} s"
        )
    for made in renders:
        assert made.own_bytes == pytest.approx(first.own_bytes, rel=TOLERANCE), made.name


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize("fps", [24, 25, 30])
def test_toy_at_every_rate(toy: Checkpoint, tmp_path: Path, fps: int, rate: int) -> None:
    lengths = LENGTHS_S if (fps, rate) in ((24, 44100), (30, 48000)) else LENGTHS_S[:2]
    renders = []
    for seconds in lengths:
        voice = save_voice(tmp_path, seconds, rate=rate, channels=2)
        options = ["--fps", str(fps), "--guidance", "1"]
        renders.append(render(toy, voice, tmp_path / "film.mp4", *options))
        check_film(renders[-1].film, seconds=seconds, fps=fps)
        voice.unlink()
    check_growth(renders)


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (48000, 2)])
def test_demo_on_the_command_line(tmp_path: Path, rate: int, channels: int) -> None:
    renders = []
    for seconds in LENGTHS_S:
        voice = save_voice(tmp_path, seconds, rate=rate, channels=channels)
        demo = Checkpoint(DEMO_CHECKPOINT, DEMO_VAE)
        options = ["--width", str(SIDE), "--height", str(SIDE)]
        renders.append(render(demo, voice, tmp_path / "film.mp4", *options))
        check_film(renders[-1].film, seconds=seconds, fps=25)
    check_growth(renders)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    from comfy_server import install, start_server

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    server = start_server(COMFYUI, tmp_path / "comfyui", ROOT)
    install(server, "input", PORTRAIT)
    yield server
    server.stop()


def demo_prompt(voice: Path, *, is_upscaled: bool) -> dict:
    """Portrait and voice to a saved film: by the stitcher, or clip by clip at twice the size."""
    from prompts import node, talk_prompt

    prompt = talk_prompt(steps=1)
    prompt["load"]["inputs"] |= {"model_name": DEMO_CHECKPOINT.name}
    prompt["vae"]["inputs"]["vae_name"] = DEMO_VAE.name
    prompt["portrait"]["inputs"]["image"] = PORTRAIT.name
    prompt["voice"]["inputs"]["audio"] = voice.name
    prompt["reference"]["inputs"] |= {"width": SIDE, "height": SIDE}
    if is_upscaled:
        prompt["begin"] = node(
            "EMO_ClipsBegin", latent=["sampler", 0], vae=["vae", 0], frames_per_clip=0
        )
        prompt["twice"] = node(
            "ImageScaleBy", image=["begin", 0], upscale_method="lanczos", scale_by=2.0
        )
        prompt["stitcher"] = node(
            "EMO_ClipsEnd",
            clips=["begin", 1],
            images=["twice", 0],
            audio=["voice", 0],
            fps=0.0,
            crf=18,
        )
    return prompt


def run_on(server, voice: Path, *, is_upscaled: bool) -> Render:
    """Run a prompt; the peak is that since it was begun."""
    from comfy_server import install

    install(server, "input", voice)
    process = Path(f"/proc/{server.process.pid}")
    (process / "clear_refs").write_text("5")
    begun = time.perf_counter()
    run = server.run(demo_prompt(voice, is_upscaled=is_upscaled))
    took_s = time.perf_counter() - begun
    assert run.status == "success", run.error
    rows = (process / "status").read_text().splitlines()
    peak_kB = next(int(row.split()[1]) for row in rows if row.startswith("VmHWM"))
    shown = run.outputs["save"]["images"][0]
    film = server.base / "output" / shown["subfolder"] / shown["filename"]
    # float32, and a wav file's 16 bits.
    return Render(voice.stem, film, peak_kB * 1024, took_s, sound_bytes=2 * voice.stat().st_size)


@pytest.mark.skipif(COMFYUI is None, reason="no ComfyUI")
@pytest.mark.parametrize("is_upscaled", [False, True])
def test_demo_in_comfyui(server, tmp_path: Path, is_upscaled: bool) -> None:
    """The voice is mono at 16 kHz, so that what the encoder reads is the sound itself."""
    renders = []
    for seconds in (WARM_UP_S, *LENGTHS_S):
        voice = save_voice(tmp_path, seconds, rate=16000, channels=1)
        renders.append(run_on(server, voice, is_upscaled=is_upscaled))
        check_film(renders[-1].film, seconds=seconds, fps=25)
    check_growth(renders[1:])
