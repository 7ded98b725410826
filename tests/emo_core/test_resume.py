"""Films from a clip store: a rerun makes what is missing, and nothing else."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny import tiny_networks
from torch import Tensor

from emo_core.audio import encoder as encoder_module
from emo_core.audio.front_end import STEP_SAMPLES
from emo_core.audio.waveform import Waveform
from emo_core.checkpoints.emo import save_emo
from emo_core.checkpoints.load import save_vae
from emo_core.models.backbone import Weights
from emo_core.models.vae import VAE
from emo_core.pipeline import AnimateSettings, Animator
from emo_core.store.clips import ClipStore

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = AnimateSettings(steps=2, seed=3, speed_deg_s=12.0)
NUM_CLIPS = 5
"""Of four frames, the last of three."""


@pytest.fixture(scope="module")
def animator() -> Animator:
    networks = tiny_networks()
    torch.manual_seed(0)
    return Animator(networks, VAE(scale=1.0).eval(), networks.front_end)


def sound(*, louder_after_s: float = 9.0) -> Waveform:
    samples = 0.2 * torch.randn(1, 12160, generator=torch.Generator().manual_seed(1))
    samples[:, round(louder_after_s * 16000) :] *= 1.7
    return Waveform(samples, 16000)


def make(
    animator: Animator,
    store: ClipStore | None,
    *,
    settings: AnimateSettings = SETTINGS,
    change: dict | None = None,
    voice: Waveform | None = None,
    stop_at: tuple[int, int] | None = None,
) -> tuple[Tensor, set[int]]:
    """The film's latents and the numbers of the clips that were really made."""
    portrait = torch.rand(80, 80, 3, generator=torch.Generator().manual_seed(2))
    film = animator.film(portrait, sound() if voice is None else voice, settings=settings)
    film = dataclasses.replace(film, **(change or {}))
    made: set[int] = set()

    def on_step(clip: int, step: int, latents: Tensor) -> None:
        made.add(clip)
        if (clip, step) == stop_at:
            raise KeyboardInterrupt

    clips = animator.sample(film, settings=settings, on_step=on_step, store=store)
    return torch.cat(list(clips)), made


def test_a_store_changes_nothing_and_saves_everything(animator: Animator, tmp_path: Path) -> None:
    plain, made = make(animator, None)
    assert made == set(range(NUM_CLIPS)) and len(plain) == 19
    first, made = make(animator, ClipStore(tmp_path))
    assert made == set(range(NUM_CLIPS)) and torch.equal(first, plain)
    again, made = make(animator, ClipStore(tmp_path))
    assert made == set() and torch.equal(again, plain)


@pytest.mark.parametrize("stop_at", [(0, 0), (2, 1), (4, 0)])
def test_an_interrupt_costs_one_clip(
    animator: Animator, tmp_path: Path, stop_at: tuple[int, int]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(animator, ClipStore(tmp_path), stop_at=stop_at)
    assert len(list(tmp_path.iterdir())) == stop_at[0]
    film, made = make(animator, ClipStore(tmp_path))
    assert made == set(range(stop_at[0], NUM_CLIPS))
    assert torch.equal(film, make(animator, None)[0])


def test_lost_and_damaged_clips_are_made_again_and_no_others(
    animator: Animator, tmp_path: Path
) -> None:
    plain, _ = make(animator, ClipStore(tmp_path))
    in_order = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    in_order[1].unlink()
    in_order[3].write_bytes(in_order[3].read_bytes()[:-5])
    film, made = make(animator, ClipStore(tmp_path))
    assert made == {1, 3}
    assert torch.equal(film, plain)


def test_a_later_change_of_the_sound_remakes_from_there(
    animator: Animator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound is encoded in stretches, half a minute each; here each as long as five frames."""
    context = -(-animator.networks.front_end.context_samples // STEP_SAMPLES)
    assert context == 9
    monkeypatch.setattr(encoder_module, "STRETCH_STEPS", 10)
    monkeypatch.setattr(encoder_module, "CONTEXT_STEPS", context)
    make(animator, ClipStore(tmp_path))
    louder = sound(louder_after_s=0.7)
    # The stretch from 0.4 s on hears it, too: frame 10 on, so with two
    # frames of margin from frame 8 on, with which clip 2 begins.
    changed, made = make(animator, ClipStore(tmp_path), voice=louder)
    assert made == {2, 3, 4}
    assert torch.equal(changed, make(animator, None, voice=louder)[0])


def test_whatever_shapes_a_film_remakes_it(animator: Animator, tmp_path: Path) -> None:
    make(animator, ClipStore(tmp_path))
    for settings in (
        dataclasses.replace(SETTINGS, seed=4),
        dataclasses.replace(SETTINGS, steps=3),
        dataclasses.replace(SETTINGS, guidance=3.0),
        dataclasses.replace(SETTINGS, solver="ddim"),
        dataclasses.replace(SETTINGS, speed_deg_s=13.0),
        dataclasses.replace(SETTINGS, speed_deg_s=None),
        dataclasses.replace(SETTINGS, weights=Weights(audio=1.1)),
        dataclasses.replace(SETTINGS, weights=Weights(areas=(1.0, 1.0, 1.2))),
    ):
        film, made = make(animator, ClipStore(tmp_path), settings=settings)
        assert made == set(range(NUM_CLIPS)), settings
        assert torch.equal(film, make(animator, None, settings=settings)[0])
    with torch.no_grad():
        weight = animator.networks.backbone.conv_in.weight
        weight.mul_(1.01)
        assert make(animator, ClipStore(tmp_path))[1] == set(range(NUM_CLIPS))
        weight.div_(1.01)


def test_other_solvers_remake_it(
    animator: Animator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Solvers are those of diffusers, as it is installed."""
    make(animator, ClipStore(tmp_path))
    monkeypatch.setattr("diffusers.__version__", "another")
    assert make(animator, ClipStore(tmp_path))[1] == set(range(NUM_CLIPS))


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """The command line, killed again and again, ends with the film of an undisturbed run."""
    save_emo(tiny_networks(), tmp_path / "model.safetensors", dtype=torch.float32)
    torch.manual_seed(0)
    save_vae(VAE(scale=1.0), tmp_path / "vae.safetensors", dtype=torch.float32)
    store = tmp_path / "store"

    def command(out: str, *more: str) -> list[str]:
        return [
            sys.executable, "-m", "emo_core", "animate",
            "--portrait", str(ROOT / "emo_core/assets/portrait.png"),
            "--audio", str(ROOT / "emo_core/assets/voice.flac"), "--end", "1.5",
            "--checkpoint", str(tmp_path / "model.safetensors"),
            "--vae", str(tmp_path / "vae.safetensors"),
            "--steps", "40", "--out", str(tmp_path / out), *more,
        ]  # fmt: skip

    def clips() -> int:
        return len(list(store.glob("*.safetensors"))) if store.is_dir() else 0

    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    undisturbed = command("plain")
    assert (
        subprocess.run(undisturbed, cwd=ROOT, env=environment, capture_output=True).returncode == 0
    )
    killed = 0
    for moment in (1, 3, 6):
        kept = clips()
        run = subprocess.Popen(
            command(f"killed{moment}", "--store", str(store)),
            cwd=ROOT, env=environment, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while run.poll() is None and clips() < moment:
            time.sleep(0.01)
        if run.poll() is None:
            run.send_signal(signal.SIGKILL)
            killed += 1
        run.wait()
        assert clips() >= max(kept, min(moment, 10)), "a finished clip was lost"
    assert killed >= 2
    last = subprocess.run(
        command("last", "--store", str(store)), cwd=ROOT, env=environment, capture_output=True
    )
    assert last.returncode == 0, last.stderr
    names = sorted(path.name for path in (tmp_path / "plain").iterdir())
    assert len(names) == 38
    for name in names:
        assert (tmp_path / "last" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
