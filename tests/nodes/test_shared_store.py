"""Two prompts in a ComfyUI server's queue and the command line beside them, all on one store."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from comfy_server import Prompt, Run, Server
from comfyui import ROOT
from PIL import Image
from prompts import talk_prompt, with_images

STEPS = 12
COMMAND_STEPS = 60
"""More, so that it is still at work while the server is."""
NUM_CLIPS = 4
SEEDS = (101, 102)


def prompt(seed: int, *, is_kept: bool = True) -> Prompt:
    made = with_images(talk_prompt(seed=seed, steps=STEPS))
    made["sampler"]["inputs"]["keep_clips"] = is_kept
    return made


def pictures(server: Server, run: Run) -> list[bytes]:
    """Pixels of the film's frames; the files hold the prompt, too."""
    assert run.status == "success", run.error
    shown = run.outputs["preview"]["images"]
    files = [server.base / "temp" / image["filename"] for image in shown]
    return [Image.open(file).tobytes() for file in files]


def steps_run(run: Run) -> int:
    """Denoising steps that the sampler really reported."""
    states = [data["nodes"].get("sampler") for data in run.of("progress_state")]
    return len({s["value"] for s in states if s and s["state"] == "running" and s["max"] > 1})


def start_command(toy, out: Path, store: Path) -> subprocess.Popen:
    command = [
        sys.executable, "-m", "emo_core", "animate",
        "--portrait", str(toy.portrait), "--audio", str(toy.voice), "--seed", "103",
        "--checkpoint", str(toy.model), "--vae", str(toy.vae), "--steps", str(COMMAND_STEPS),
        "--out", str(out), "--store", str(store),
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def finished(run: subprocess.Popen) -> str:
    """What it said."""
    _, said = run.communicate()
    assert run.returncode == 0, said
    return said


def folder(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def entries(store: Path) -> dict[str, os.stat_result]:
    return {path.name: path.stat() for path in store.glob("*.safetensors")}


def free(server: Server) -> None:
    """ComfyUI forgets what nodes gave, so that they run again."""
    server.post("/free", {"unload_models": True, "free_memory": True})
    time.sleep(3)  # A prompt that comes at once may run before.


def test_two_prompts_and_the_command_line_on_one_store(server: Server, toy, tmp_path: Path) -> None:
    store = server.base / "user" / "emo_clips"
    finished(start_command(toy, tmp_path / "plain", tmp_path / "alone"))
    of_command = set(entries(tmp_path / "alone"))
    alone = [pictures(server, server.run(prompt(seed, is_kept=False))) for seed in SEEDS]
    assert alone[0] != alone[1]
    free(server)
    before = set(entries(store))

    command = start_command(toy, tmp_path / "beside", store)
    while command.poll() is None and not of_command & set(entries(store)):
        time.sleep(0.02)
    with ThreadPoolExecutor(2) as both:
        runs = list(both.map(server.run, map(prompt, SEEDS)))
    said = finished(command)
    written = entries(store)
    of_server = set(written) - before - of_command
    assert len(of_server) == 2 * NUM_CLIPS and len(of_command) == NUM_CLIPS
    times = [[written[name].st_mtime for name in names] for names in (of_server, of_command)]
    assert max(map(min, times)) < min(map(max, times)), "they were not at work together"
    assert [pictures(server, run) for run in runs] == alone
    assert all(steps_run(run) >= STEPS for run in runs) and ": from " not in said
    assert folder(tmp_path / "beside") == folder(tmp_path / "plain")

    free(server)
    with ThreadPoolExecutor(2) as both:
        runs = list(both.map(server.run, map(prompt, SEEDS)))
    said = finished(start_command(toy, tmp_path / "again", store))
    assert all("sampler" in run.executed and steps_run(run) == 0 for run in runs)
    assert [pictures(server, run) for run in runs] == alone
    assert said.count(f": from {store}") == NUM_CLIPS
    assert folder(tmp_path / "again") == folder(tmp_path / "plain")
    # A clip that is made again comes as a new file.
    inodes = {name: status.st_ino for name, status in entries(store).items()}
    assert inodes == {name: status.st_ino for name, status in written.items()}
    assert all(path.suffix == ".safetensors" for path in store.iterdir())
