"""The pack in a real ComfyUI server: films, progress, caching, interrupts, errors."""

import re
import time
from pathlib import Path

import av
import pytest
from prompts import talk_prompt, with_images

NUM_FRAMES = 15
NUM_CLIPS = 4


def film_of(server, run) -> Path:
    """The file that SaveVideo wrote."""
    shown = run.outputs["save"]["images"][0]
    return server.base / "output" / shown["subfolder"] / shown["filename"]


def test_a_start_brings_no_complaint_about_the_pack(server):
    # Other files' prompts on this server may fail, as they are meant to.
    log, *_ = re.sub(r"\x1b\[[0-9;]*m", "", server.log()).split("got prompt")
    assert "emo" in log.lower()
    assert "IMPORT FAILED" not in log
    complaints = [
        line
        for line in log.splitlines()
        if ("WARNING" in line or "ERROR" in line or "Traceback" in line)
        and re.search(r"emo", line, re.IGNORECASE)
    ]
    assert not complaints


def test_the_demo_files_are_offered(server):
    choices = server.get("/object_info/EMO_LoadModel")["EMO_LoadModel"]["input"]["required"]
    assert "toy.safetensors" in choices["model_name"][1]["options"]
    assert not [name for name in choices["model_name"][1]["options"] if "reader" in name]


def test_a_portrait_talks(server):
    run = server.run(talk_prompt())
    assert run.status == "success", run.error
    with av.open(str(film_of(server, run))) as film:
        video, sound = film.streams.video[0], film.streams.audio[0]
        assert (video.codec_context.name, video.width, video.height) == ("h264", 64, 64)
        assert (video.frames, video.average_rate) == (NUM_FRAMES, 25)
        assert sound.codec_context.name == "aac"
        assert float(sound.duration * sound.time_base) == pytest.approx(0.6, abs=0.05)
        assert len({frame.to_ndarray().tobytes() for frame in film.decode(video)}) > 1


def test_one_bar_over_all_clips_and_steps_with_previews(server):
    run = server.run(talk_prompt(seed=2))
    states = [data["nodes"].get("sampler") for data in run.of("progress_state")]
    running = [state for state in states if state and state["state"] == "running"]
    running = [state for state in running if state["max"] > 1]
    assert {state["max"] for state in running} == {NUM_CLIPS * 3}
    values = [state["value"] for state in running]
    assert values == sorted(values)
    previews = [p for p in run.of("preview") if p["node_id"] == "sampler"]
    assert previews
    assert all(p["bytes"][:2] == b"\xff\xd8" for p in previews)


def test_only_what_depends_on_a_change_runs_again(server):
    server.run(talk_prompt(seed=3))
    assert server.run(talk_prompt(seed=3)).executed == []
    faster = server.run(talk_prompt(seed=3, speed=25.0)).executed
    assert set(faster) == {"speed", "sampler", "stitcher", "save"}
    smaller = server.run(talk_prompt(seed=3, speed=25.0, crf=30)).executed
    assert set(smaller) == {"stitcher", "save"}


def test_images_are_made_only_when_connected_and_then_really(server):
    prompt = talk_prompt(seed=4)
    assert server.run(prompt).status == "success"
    run = server.run(with_images(prompt))
    assert run.status == "success", run.error
    assert len(run.outputs["preview"]["images"]) == NUM_FRAMES
    assert set(run.executed) == {"stitcher", "save", "preview"}


@pytest.mark.parametrize("where", ["EMO_Sampler", "EMO_ClipStitcher"])
def test_an_interrupted_run_leaves_nothing_and_the_next_one_works(server, where):
    prompt = talk_prompt(seed=5, steps=40 if where == "EMO_Sampler" else 3)
    if where == "EMO_ClipStitcher":
        # Long enough that an interrupt arrives in time: the film five times in a row.
        inputs = prompt["stitcher"]["inputs"]
        inputs |= {f"latents.latent_{i}": ["sampler", 0] for i in range(30)}
    before = set((server.base / "temp").rglob("*"))
    run = server.run(prompt, interrupt_at=where)
    assert run.of("execution_interrupted"), run.status
    left = set((server.base / "temp").rglob("*")) - before
    assert not [path for path in left if path.suffix in (".mp4", ".part")]
    again = server.run(talk_prompt(seed=5))
    assert again.status == "success", again.error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"vae": {"vae_name": "pixel_space"}},
            "EMO Reference Encode: the VAE has 3 latent",
        ),
        ({"reference": {"width": 72, "height": 40}}, "EMO Reference Encode: 72x40 pixels"),
        ({"speed": {"speed": 99.0}}, "EMO Sampler: head speed 99: expected 0 to 60"),
    ],
)
def test_a_bad_graph_is_explained(server, change, message):
    prompt = talk_prompt(seed=6)
    for name, inputs in change.items():
        prompt[name]["inputs"] |= inputs
    run = server.run(prompt)
    assert run.status == "error"
    assert message in run.error


def test_after_unloading_everything_the_film_is_the_same(server):
    first = server.run(with_images(talk_prompt(seed=7)))
    server.post("/free", {"unload_models": True, "free_memory": True})
    time.sleep(3)  # A prompt that comes at once may run before ComfyUI frees anything.
    second = server.run(with_images(talk_prompt(seed=7)))
    assert {"load", "sampler", "stitcher"} <= set(second.executed)
    pictures = [
        [
            (server.base / "temp" / shown["filename"]).read_bytes()
            for shown in run.outputs["preview"]["images"]
        ]
        for run in (first, second)
    ]
    assert pictures[0] == pictures[1]


def test_templates_translations_and_help_are_served(server):
    names = {
        path.stem for path in (Path(__file__).resolve().parents[2] / "workflows").glob("*.json")
    }
    assert set(server.get("/api/workflow_templates")["emo"]) == names
    words = server.get("/i18n")
    for language in ("en", "de", "ja", "ko", "zh"):
        assert words[language]["nodeDefs"]["EMO_Sampler"]["display_name"]
