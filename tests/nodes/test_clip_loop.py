"""A part of a graph that runs clip by clip, in a real ComfyUI server of its own with probes."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from comfy_server import Prompt, Run, Server, install, start_server
from comfyui import ROOT
from conftest import COMFYUI
from PIL import Image
from prompts import node, talk_prompt
from safetensors.torch import save_file

NUM_FRAMES = 15
FRAMES_PER_CLIP = 4
NUM_CLIPS = 4
"""Three of 4 frames and one of 3."""


@pytest.fixture(scope="module")
def server(toy, tmp_path_factory) -> Server:
    base = tmp_path_factory.mktemp("clip_loop")
    (base / "custom_nodes").mkdir()
    shutil.copy(Path(__file__).with_name("probe_nodes.py"), base / "custom_nodes")
    server = start_server(COMFYUI, base, ROOT)
    install(server, "models/emo", toy.model)
    install(server, "models/vae", toy.vae)
    install(server, "input", toy.portrait, toy.voice)
    save_upscaler(base / "models" / "upscale_models" / "tiny_4x.safetensors")
    yield server
    server.stop()


def save_upscaler(path: Path) -> None:
    """An ESRGAN of one block that makes 4x4 pixels of one, with random weights."""
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.manual_seed(0)
    weights = ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict()
    # At their first values every picture comes out as one colour.
    for name in weights:
        weights[name] *= 2.0 if name.endswith("weight") else 0.0
    weights["model.10.bias"] += 0.5
    path.parent.mkdir(exist_ok=True)
    save_file(weights, path)


def looped(part: Prompt, last: str, *, frames_per_clip: int = FRAMES_PER_CLIP, **film) -> Prompt:
    """Portrait and voice to a lossless film whose frames go through a part.

    Args:
        part: its nodes; they read the frames of "begin".
        last: id of the node whose first output ends it.
    """
    prompt = talk_prompt(**film)
    del prompt["stitcher"]
    prompt["begin"] = node(
        "EMO_ClipsBegin", latent=["sampler", 0], vae=["vae", 0], frames_per_clip=frames_per_clip
    )
    prompt["end"] = node(
        "EMO_ClipsEnd", clips=["begin", 1], images=[last, 0], audio=["voice", 0], fps=0.0, crf=0
    )
    prompt["save"]["inputs"]["video"] = ["end", 0]
    return prompt | part


def with_all_at_once(prompt: Prompt, part: Prompt, last: str) -> Prompt:
    """The same with a copy of the part that gets all frames of the stitcher's IMAGE at once."""
    stitched = talk_prompt()["stitcher"]
    names = {name: f"all_{name}" for name in part} | {"begin": "stitcher"}
    copies = {}
    for name, entry in part.items():
        inputs = {
            key: [names[value[0]], int(value[0] == "begin")]
            if isinstance(value, list) and value[0] in names
            else value
            for key, value in entry["inputs"].items()
        }
        copies[names[name]] = {"class_type": entry["class_type"], "inputs": inputs}
    preview = node("PreviewImage", images=[names[last], 0])
    return prompt | copies | {"stitcher": stitched, "preview": preview}


def brightness_of_film(server: Server, run: Run) -> np.ndarray:
    """(T, H, W) as the lossless film has it."""
    shown = run.outputs["save"]["images"][0]
    with av.open(str(server.base / "output" / shown["subfolder"] / shown["filename"])) as film:
        height = film.streams.video[0].height
        return np.stack([frame.to_ndarray()[:height] for frame in film.decode(video=0)])


def brightness_of_preview(server: Server, run: Run) -> np.ndarray:
    """The same of pictures, by FFmpeg's own conversion."""
    made = []
    for shown in run.outputs["preview"]["images"]:
        with Image.open(server.base / "temp" / shown["filename"]) as picture:
            frame = av.VideoFrame.from_ndarray(np.asarray(picture.convert("RGB")), format="rgb24")
        planes = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        made.append(planes.to_ndarray()[: frame.height])
    return np.stack(made)


INVERTED = {"invert": node("ImageInvert", image=["begin", 0])}
DOUBLED = {
    "double": node("ImageScaleBy", image=["begin", 0], upscale_method="nearest-exact", scale_by=2.0)
}
UPSCALED = {
    "upscaler": node("UpscaleModelLoader", model_name="tiny_4x.safetensors"),
    "upscale": node("ImageUpscaleWithModel", upscale_model=["upscaler", 0], image=["begin", 0]),
}
TWO_BRANCHES = INVERTED | {
    "blend": node(
        "ImageBlend",
        image1=["begin", 0],
        image2=["invert", 0],
        blend_factor=0.2,
        blend_mode="normal",
    )
}
WITH_PORTRAIT = {
    "scaled": node(
        "ImageScale",
        image=["portrait", 0],
        upscale_method="bilinear",
        width=64,
        height=64,
        crop="center",
    ),
    "paste": node(
        "ImageCompositeMasked",
        destination=["begin", 0],
        source=["scaled", 0],
        x=40,
        y=8,
        resize_source=False,
    ),
}
THROUGH_A_LIST = {
    "one_by_one": node("RebatchImages", images=["begin", 0], batch_size=1),
    "each": node("ImageInvert", image=["one_by_one", 0]),
    "join": node("RebatchImages", images=["each", 0], batch_size=4096),
}
ASYNC = {"async": node("ProbeAsyncInvert", images=["begin", 0])}
EXPANDED = {"expand": node("ProbeExpandInvert", images=["begin", 0], at=0)}


@pytest.mark.parametrize(
    ("part", "last"),
    [
        ({}, "begin"),
        (DOUBLED, "double"),
        (UPSCALED, "upscale"),
        (TWO_BRANCHES, "blend"),
        (WITH_PORTRAIT, "paste"),
        (THROUGH_A_LIST, "join"),
        (ASYNC, "async"),
        (EXPANDED, "expand"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_clip_by_clip_gives_what_all_at_once_gives(server, part, last):
    prompt = looped(part, last)
    if part:
        prompt = with_all_at_once(prompt, part, last)
    else:
        prompt |= {
            "stitcher": talk_prompt()["stitcher"],
            "preview": node("PreviewImage", images=["stitcher", 1]),
        }
    run = server.run(prompt)
    assert run.status == "success", run.error
    film, wanted = brightness_of_film(server, run), brightness_of_preview(server, run)
    assert film.shape == wanted.shape
    # ComfyUI's pictures round down, the film to the nearest.
    assert np.abs(film.astype(int) - wanted).max() <= 1
    by_frame = np.abs(np.diff(wanted.astype(int), axis=0)).max(axis=(1, 2))
    assert by_frame.min() > 1, "frames in another order would go unnoticed"


def test_sound_and_picture_last_the_same(server):
    run = server.run(looped(INVERTED, "invert"))
    shown = run.outputs["save"]["images"][0]
    with av.open(str(server.base / "output" / shown["subfolder"] / shown["filename"])) as film:
        video, sound = film.streams.video[0], film.streams.audio[0]
        assert (video.frames, video.average_rate) == (NUM_FRAMES, 25)
        assert float(sound.duration * sound.time_base) == pytest.approx(0.6, abs=0.05)


def times(run: Run, name: str) -> int:
    return run.executed.count(name)


def test_the_part_runs_once_per_clip_and_what_is_outside_once(server):
    run = server.run(looped(UPSCALED, "upscale", seed=11))
    assert run.status == "success", run.error
    assert (times(run, "upscale"), times(run, "upscaler"), times(run, "begin")) == (NUM_CLIPS, 1, 1)
    states = [data["nodes"] for data in run.of("progress_state")]
    bars = [s for nodes in states for s in nodes.values() if s["display_node_id"] == "end"]
    assert [s["value"] for s in bars if s["max"] == NUM_CLIPS][-1] == NUM_CLIPS
    films = [data for data in run.of("executed") if data["display_node"] == "end"]
    assert films[-1]["output"]["images"][0]["filename"].endswith(".mp4")


def test_only_what_depends_on_a_change_runs_again(server):
    def prompt(scale: float, crf: int = 0) -> Prompt:
        prompt = looped(DOUBLED, "double", seed=12)
        prompt["double"] = {**prompt["double"], "inputs": dict(prompt["double"]["inputs"])}
        prompt["double"]["inputs"]["scale_by"] = scale
        prompt["end"]["inputs"]["crf"] = crf
        return prompt

    assert times(server.run(prompt(2.0)), "double") == NUM_CLIPS
    assert server.run(prompt(2.0)).executed == []
    changed = server.run(prompt(3.0))
    assert times(changed, "double") == NUM_CLIPS
    assert not {"begin", "sampler"} & set(changed.executed)
    assert brightness_of_film(server, changed).shape == (NUM_FRAMES, 192, 192)
    other_quality = server.run(prompt(3.0, crf=30))
    assert times(other_quality, "double") == NUM_CLIPS


def test_what_only_a_preview_needs_sees_the_first_clip(server):
    prompt = looped(INVERTED, "invert", seed=13)
    prompt["unneeded"] = node("ImageInvert", image=["invert", 0])
    run = server.run(prompt)
    assert times(run, "unneeded") == 0
    run = server.run(prompt | {"preview": node("PreviewImage", images=["unneeded", 0])})
    assert len(run.outputs["preview"]["images"]) == FRAMES_PER_CLIP


def test_nodes_of_the_part_keep_what_they_hold_over_a_film(server):
    part = {"count": node("ProbeCountCalls", images=["begin", 0])}
    run = server.run(looped(part, "count", seed=14))
    assert run.status == "success", run.error
    film = brightness_of_film(server, run)
    black = [frame.max() <= 16 for frame in film]
    clips = [black[i : i + FRAMES_PER_CLIP] for i in range(0, NUM_FRAMES, FRAMES_PER_CLIP)]
    assert [sum(clip) for clip in clips] == list(range(NUM_CLIPS))


def test_a_list_from_outside_reaches_the_part_as_it_would_anywhere(server):
    """Two pictures on one link: the node that reads them runs for both, as it does in ComfyUI."""
    part = {
        "other": node("ImageInvert", image=["portrait", 0]),
        "two": node(
            "CreateList", **{"inputs.input0": ["portrait", 0], "inputs.input1": ["other", 0]}
        ),
        "pasted": node(
            "ImageCompositeMasked",
            destination=["begin", 0],
            source=["two", 0],
            x=0,
            y=0,
            resize_source=True,
        ),
        "all": node("RebatchImages", images=["pasted", 0], batch_size=4096),
        "last": node("ImageFromBatch", image=["all", 0], batch_index=FRAMES_PER_CLIP, length=4),
    }
    run = server.run(looped(part, "last", frames_per_clip=5, seed=15))
    assert "gave 4 frames of 3 channels for clip 1 of 3 (frames 1 to 5)" in run.error
    part["last"]["inputs"] |= {"batch_index": 5, "length": 5}
    run = server.run(looped(part, "last", frames_per_clip=5, seed=15))
    assert run.status == "success", run.error


def made_long(prompt: Prompt, num_times: int) -> Prompt:
    """The film so many times in a row."""
    prompt["begin"]["inputs"]["latent"] = ["long", 0]
    long = node("RepeatLatentBatch", samples=["sampler", 0], amount=num_times)
    return prompt | {"long": long}


@pytest.mark.parametrize("name", ["EMO_ClipsEnd", "ImageUpscaleWithModel"])
def test_an_interrupt_leaves_nothing_and_the_next_run_works(server, name):
    seed = 40 + len(name)  # Not to be cached from the other.
    prompt = made_long(looped(UPSCALED, "upscale", seed=seed), 4)
    before = set((server.base / "temp").rglob("*"))
    run = server.run(prompt, interrupt_at=name)
    assert run.of("execution_interrupted"), run.status
    assert times(run, "upscale") < 4 * NUM_FRAMES // FRAMES_PER_CLIP
    left = set((server.base / "temp").rglob("*")) - before
    assert not [path for path in left if path.suffix in (".mp4", ".part")]
    again = server.run(prompt)
    assert again.status == "success", again.error
    assert times(again, "upscale") == 4 * NUM_FRAMES // FRAMES_PER_CLIP


def test_an_interrupt_ends_with_the_node_at_work(server):
    part = {
        "slow": node("ProbeSlow", images=["begin", 0], seconds=1.0),
        "next": node("ProbeMeasure", images=["slow", 0]),
    }
    run = server.run(looped(part, "next", seed=17), interrupt_at="EMO_ClipsEnd")
    assert run.of("execution_interrupted"), run.status
    # Asked for after the first clip, during the slow node.
    assert times(run, "slow") == 2
    assert [data["node"] for data in run.of("executed")].count("next") == 1


FAILING = {
    "value": "RuntimeError: 'eyes' (node eyes) failed in clip 4 of 4 (frames 13 to 15): this face",
    "memory": "torch.OutOfMemoryError: 'eyes' (node eyes) failed in clip 4 of 4",
    "block": "the part gave no frames for clip 4 of 4",
    "smaller": "gave frames of 64x32 pixels for clip 4 of 4 (frames 13 to 15), and 64x64 before",
    "fewer": "gave 2 frames of 3 channels for clip 4 of 4 (frames 13 to 15). Expected 3",
}


@pytest.mark.parametrize("how", FAILING)
def test_a_failure_names_node_and_clip_and_leaves_nothing(server, how):
    part = {"eyes": node("ProbeFail", images=["begin", 0], at=3, how=how)}
    before = set((server.base / "temp").rglob("*"))
    run = server.run(looped(part, "eyes", seed=18))
    (error,) = run.of("execution_error")
    assert error["node_id"] == "end"
    assert FAILING[how] in f"{error['exception_type']}: {error['exception_message']}"
    left = set((server.base / "temp").rglob("*")) - before
    assert not [path for path in left if path.suffix in (".mp4", ".part")]


def test_what_a_node_expanded_into_fails_as_that_node(server):
    part = {"expand": node("ProbeExpandInvert", images=["begin", 0], at=3)}
    run = server.run(looped(part, "expand", seed=18))
    assert "'expand' (node expand) failed in clip 4 of 4" in run.error


def with_another_begin(prompt: Prompt) -> Prompt:
    other = {**prompt["begin"], "inputs": {**prompt["begin"]["inputs"], "frames_per_clip": 2}}
    return prompt | {"other_begin": other}


WRONG = {
    "the images do not come from the frames": (
        {"invert": node("ImageInvert", image=["other_begin", 0])},
        "invert",
    ),
    "come from the frames of 2 nodes: 'begin' (node begin), 'other_begin'": (
        {
            "blend": node(
                "ImageBlend",
                image1=["begin", 0],
                image2=["other_begin", 0],
                blend_factor=0.5,
                blend_mode="normal",
            )
        },
        "blend",
    ),
    "gave a list of 4 IMAGEs for clip 1 of 4": (
        {"single": node("RebatchImages", images=["begin", 0], batch_size=1)},
        "single",
    ),
    "'paid' (node paid) runs on a paid service": (
        {"paid": node("ProbePaid", images=["begin", 0])},
        "paid",
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_bad_part_is_explained(server, message):
    part, last = WRONG[message]
    run = server.run(with_another_begin(looped(part, last, seed=19)))
    assert message in run.error


def test_a_pair_that_is_finished_before_is_no_part_of_the_next(server):
    """Frames of a finished film may go into the part of another: the pair behind them is closed."""
    prompt = looped(INVERTED, "invert", seed=20)
    prompt["first_end"] = node("EMO_ClipsEnd", **prompt["end"]["inputs"])
    prompt["frames"] = node("GetVideoComponents", video=["first_end", 0])
    second = node("EMO_ClipsBegin", **prompt["begin"]["inputs"])
    prompt["second"] = second
    prompt["blend"] = node(
        "ImageCompositeMasked",
        destination=["second", 0],
        source=["frames", 0],
        x=32,
        y=0,
        resize_source=False,
    )
    prompt["end"]["inputs"] |= {"clips": ["second", 1], "images": ["blend", 0]}
    run = server.run(prompt)
    assert run.status == "success", run.error
    assert times(run, "invert") == times(run, "blend") == NUM_CLIPS


def test_memory_does_not_grow_with_the_film(server):
    """After 4 and after 40 clips at four times the size: what stays of a clip would be there."""
    part = {"big": node("ImageScaleBy", **DOUBLED["double"]["inputs"] | {"scale_by": 4.0})}
    part["measure"] = node("ProbeMeasure", images=["big", 0])
    prompt = looped(part, "measure", seed=21, frames_per_clip=NUM_FRAMES)
    prompt["end"]["inputs"]["crf"] = 30
    run = server.run(made_long(prompt, 40))
    assert run.status == "success", run.error
    shown = [data["output"] for data in run.of("executed") if data["node"] == "measure"]
    assert len(shown) == 40
    clip_bytes = NUM_FRAMES * 256 * 256 * 3 * 4
    for kind, num_clips in (("tensors", 1), ("peak", 10)):
        first, *later = [output[kind][0] for output in shown if output[kind]]
        assert max(later) - first < num_clips * clip_bytes, [first, *later]
