"""The real command line in processes of its own, killed again and again (make faults)."""

import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import av
import pytest
import torch
from tally import COMMAND_LINE_KILLS, Tally
from tiny import tiny_networks

from emo_core.checkpoints.emo import save_emo
from emo_core.checkpoints.load import save_vae
from emo_core.models.vae import VAE

ROOT = Path(__file__).resolve().parents[2]
STEPS = 20
NUM_CLIPS = 25
KIND = "kill of the command line"


class Commands:
    """`animate` with a tiny checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        save_emo(tiny_networks(), folder / "model.safetensors", dtype=torch.float32)
        torch.manual_seed(0)
        save_vae(VAE(scale=1.0), folder / "vae.safetensors", dtype=torch.float32)

    def start(self, out: Path, store: Path, *, seed: int) -> subprocess.Popen:
        out.parent.mkdir(exist_ok=True)
        command = [
            sys.executable, "-m", "emo_core", "animate",
            "--portrait", str(ROOT / "emo_core/assets/portrait.png"),
            "--audio", str(ROOT / "emo_core/assets/voice.flac"), "--end", "4",
            "--checkpoint", str(self.folder / "model.safetensors"),
            "--vae", str(self.folder / "vae.safetensors"),
            "--steps", str(STEPS), "--guidance", "1", "--seed", str(seed),
            "--out", str(out), "--store", str(store),
        ]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )

    def make(self, out: Path, store: Path, *, seed: int) -> None:
        run = self.start(out, store, seed=seed)
        _, said = run.communicate()
        assert run.returncode == 0, said


def entries(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.glob("*.safetensors")}


def frames(film: Path) -> list[bytes]:
    with av.open(str(film)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


def killed(run: subprocess.Popen, store: Path, rng: Random) -> None:
    """Kill a film a little after some more clips are finished, or while an entry is written."""
    wanted = len(entries(store)) + rng.randint(0, 4)
    is_in_an_entry = rng.random() < 0.5
    while run.poll() is None:
        hidden = [*store.glob(".emo-*.part")]
        if len([*store.glob("*.safetensors")]) >= wanted and (hidden or not is_in_an_entry):
            break
        time.sleep(0.001)
    if not is_in_an_entry:
        time.sleep(rng.uniform(0, 0.5))
    run.kill()
    run.communicate()


def test_killed_again_and_again(tally: Tally, tmp_path: Path) -> None:
    if tally.times == 1:
        pytest.skip("only with --faults, since every run loads torch: make faults")
    commands, rng, seed = Commands(tmp_path), Random(KIND), 0
    whole: dict[str, bytes] = {}
    wanted: list[bytes] = []
    store = tmp_path / "store"
    for index in range(COMMAND_LINE_KILLS * tally.times):
        if len(entries(store)) == len(whole):  # Finished, or the very first.
            if whole:
                commands.make(tmp_path / "last" / f"{seed}.mp4", store, seed=seed)
                assert frames(tmp_path / "last" / f"{seed}.mp4") == wanted
                assert entries(store) == whole
            seed, store = seed + 1, tmp_path / f"store{seed + 1}"
            undisturbed = tmp_path / "undisturbed" / f"{seed}.mp4"
            commands.make(undisturbed, tmp_path / f"plain{seed}", seed=seed)
            whole, wanted = entries(tmp_path / f"plain{seed}"), frames(undisturbed)
            assert len(whole) == NUM_CLIPS and len(wanted) == 4 * NUM_CLIPS
        before = entries(store)
        film = tmp_path / "killed" / f"{index}.mp4"
        killed(commands.start(film, store, seed=seed), store, rng)
        after = entries(store)
        lost = [name for name in before if after.get(name) != whole[name]]
        tally.count(KIND, lost=len(lost))
        assert not lost
        assert all(whole[name] == content for name, content in after.items())
        partial = film.with_name(f"{index}.partial.mp4")
        if partial.is_file() and partial.stat().st_size:
            shown = frames(partial)
            assert shown == wanted[: len(shown)]
    commands.make(tmp_path / "last.mp4", store, seed=seed)
    assert frames(tmp_path / "last.mp4") == wanted and entries(store) == whole
