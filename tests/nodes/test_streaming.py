"""A film that is written while it is sampled, on a real server; and what the stitcher measures."""

import json
import re
import threading
import time
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from comfy_server import install
from conftest import save_voice
from prompts import node, talk_prompt

NUM_FRAMES = 15
LONG_S = 10


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


def saved(server, run, name: str) -> Path:
    shown = run.outputs[name]["images"][0]
    return server.base / "output" / shown["subfolder"] / shown["filename"]


def streaming_prompt(*, seed: int, steps: int = 3) -> dict:
    """The sampler's own VIDEO beside the stitcher's."""
    prompt = talk_prompt(seed=seed, steps=steps)
    prompt["sampler"]["inputs"] |= {"vae": ["vae", 0], "audio": ["voice", 0]}
    save = {"filename_prefix": "streamed", "format": "auto", "codec": "auto"}
    return prompt | {"streamed": node("SaveVideo", video=["sampler", 1], **save)}


def test_the_samplers_video_is_the_stitchers(server):
    run = server.run(streaming_prompt(seed=11))
    assert run.status == "success", run.error
    streamed, stitched = saved(server, run, "streamed"), saved(server, run, "save")
    assert len(frames_of(streamed)) == NUM_FRAMES
    assert (frames_of(streamed) == frames_of(stitched)).all()
    with av.open(str(streamed)) as film:
        video, sound = film.streams.video[0], film.streams.audio[0]
        assert float(video.duration * video.time_base) == pytest.approx(0.6, abs=0.001)
        assert float(sound.duration * sound.time_base) == pytest.approx(0.6, abs=0.001)


def test_the_node_says_what_can_be_watched(server):
    run = server.run(streaming_prompt(seed=12))
    texts = [data["text"] for data in run.of("text") if data["node_id"] == "sampler"]
    counts = [int(found[1]) for text in texts if (found := re.match(r"(\d+) of 15 frames: ", text))]
    assert counts == [4, 8, 12, 15]
    partial = Path(texts[0].partition(": ")[2])
    assert partial.suffix == ".mp4" and partial.parent == server.base / "temp"
    assert not partial.exists(), "it goes when the film is done"


def test_frames_are_in_the_file_while_later_clips_are_sampled(server, tmp_path):
    """The film is read from outside while the prompt runs; the encoder lags some 60 frames."""
    save_voice(tmp_path / "long.wav", seconds=LONG_S)
    install(server, "input", tmp_path / "long.wav")
    prompt = streaming_prompt(seed=13, steps=4)
    prompt["voice"]["inputs"]["audio"] = "long.wav"
    seen = []

    def watch() -> None:
        while not done.is_set():
            for path in (server.base / "temp").glob("*partial*.mp4"):
                with suppress(OSError, av.error.FFmpegError):  # It may go at any time.
                    seen.append(len(frames_of(path)) if path.stat().st_size > 2000 else 0)
            time.sleep(0.02)

    done = threading.Event()
    thread = threading.Thread(target=watch)
    thread.start()
    run = server.run(prompt)
    done.set()
    thread.join()
    assert run.status == "success", run.error
    assert any(0 < count < 0.8 * LONG_S * 25 for count in seen), seen


def test_video_without_a_vae_says_what_to_connect(server):
    prompt = streaming_prompt(seed=14)
    del prompt["sampler"]["inputs"]["vae"]
    run = server.run(prompt)
    assert "streamed" not in run.outputs and "save" in run.outputs
    assert "EMO Sampler gives VIDEO only with a vae" in json.dumps(run.of("execution_error"))


def test_an_interrupted_film_goes_on_in_the_next_prompt(server):
    prompt = talk_prompt(seed=15, steps=30)
    stopped = server.run(prompt, interrupt_at="EMO_Sampler", after=70)
    assert stopped.of("execution_interrupted")
    again = server.run(prompt)
    assert again.status == "success", again.error
    texts = [data["text"] for data in again.of("text") if data["node_id"] == "sampler"]
    found = re.search(r"(\d) clips were in (.*)", texts[-1])
    assert 1 <= int(found[1]) <= 3
    assert Path(found[2]) == server.base / "user" / "emo_clips"
    fresh = talk_prompt(seed=15, steps=30)
    fresh["sampler"]["inputs"]["keep_clips"] = False
    plain = server.run(fresh)
    assert (
        frames_of(saved(server, plain, "save")) == frames_of(saved(server, again, "save"))
    ).all()


def test_a_retake_in_a_graph(server):
    prompt = talk_prompt(seed=16, steps=3)
    prompt["stitcher"]["inputs"]["crf"] = 0
    old = frames_of(saved(server, server.run(prompt), "save")).astype(int)
    prompt["retake"] = node(
        "EMO_Retake",
        start=0.2,
        end=0.36,
        seed=5,
        blend_frames=2,
        guidance=0.0,
        reference_weight=-1.0,
        audio_weight=-1.0,
        speed_weight=-1.0,
    )
    prompt["sampler"]["inputs"]["retake"] = ["retake", 0]
    run = server.run(prompt)
    assert run.status == "success", run.error
    new = frames_of(saved(server, run, "save")).astype(int)
    changed = np.abs(new - old).max(axis=(1, 2, 3)) > 0
    assert changed.tolist() == [5 <= frame < 11 for frame in range(NUM_FRAMES)]


def test_the_stitcher_measures_on_demand(server):
    prompt = talk_prompt(seed=17)
    prompt["stitcher"]["inputs"]["measure"] = ["reference", 0]
    prompt["meters"] = node("PreviewAny", source=["stitcher", 3])
    run = server.run(prompt)
    assert run.status == "success", run.error
    reading = json.loads(run.outputs["meters"]["text"][0])
    assert [(clip["first_frame"], clip["last_frame"]) for clip in reading["clips"]] == [
        (0, 3), (4, 7), (8, 11), (12, 14)
    ]  # fmt: skip
    assert reading["num_frames"] == NUM_FRAMES and -1 <= reading["identity"] <= 1
    (text,) = [data["text"] for data in run.of("text") if data["node_id"] == "stitcher"]
    assert "identity" in text and "seam" in text
    assert "  " not in text, "the front end makes one space of several"
