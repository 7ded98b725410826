"""EMO Pre-flight: counts, verdicts, and a real server that stops before it samples."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import COMFYUI, ROOT, ToyFiles
from graph import Graph, make_graph, sample
from prompts import node, talk_prompt
from tiny import tiny_config

from emo_core.checkpoints.emo import build_networks, save_emo
from emo_core.config import WindowsConfig

NUM_FRAMES, NUM_CLIPS, STEPS = 15, 4, 5
SMALL_DISK = """import shutil

shutil.disk_usage = lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 200, 200)
NODE_CLASS_MAPPINGS = {}
"""
"""Another pack in whose company no disk has room."""


@pytest.fixture(scope="module")
def graph(pack, toy) -> Graph:
    return make_graph(pack, toy)


@pytest.fixture(autouse=True)
def listening(pack, monkeypatch):
    """Hears what nodes show where no server runs."""
    from server import PromptServer

    class Listening:
        def send_progress_text(self, text: str, node_id: str) -> None:
            pass

    monkeypatch.setattr(PromptServer, "instance", Listening(), raising=False)


def preflight(graph: Graph, **changed) -> tuple[str, dict]:
    """The node's two outputs, the second read."""
    inputs = {
        "model": graph.model,
        "reference": graph.reference,
        "emo_audio": graph.audio,
        "steps": STEPS,
        "guidance": 0.0,
        "sampler_name": "auto",
        "if_it_does_not_fit": "warn",
    }
    with torch.inference_mode():
        made = graph.node("Preflight").PREPARE_CLASS_CLONE(None).execute(**(inputs | changed))
    report, data = made.args
    assert made.ui.as_dict() == {"text": (report,)}
    return report, json.loads(data)


def levels(data: dict) -> dict[str, str]:
    return {finding["what"]: finding["level"] for finding in data["findings"]}


def test_the_plan_is_what_the_guider_does(graph):
    _, data = preflight(graph)
    film = data["film"]
    guider, latent = graph.guider()
    sampler, sigmas = graph.node("DDIM").execute(graph.model, STEPS).args
    calls = []
    made = sample(guider, latent, sampler, sigmas, callback=lambda *call: calls.append(call))
    assert len(made) == film["num_frames"] == NUM_FRAMES
    assert film["num_steps"] == len({call[0] for call in calls}) == NUM_CLIPS * STEPS
    assert film["num_clips"] == NUM_CLIPS
    assert (film["width"], film["height"], film["fps"]) == (64, 64, 25)
    assert preflight(graph, steps=0)[1]["film"]["steps"] == 3, "the checkpoint's own"


def test_windows_are_counted_as_comfyui_runs_them(pack, toy, tmp_path):
    """A toy of the families that sample all frames together."""
    temporal = dataclasses.replace(tiny_config().backbone.temporal, num_motion_frames=0)
    config = dataclasses.replace(
        tiny_config(),
        backbone=dataclasses.replace(tiny_config().backbone, temporal=temporal),
        sampling=dataclasses.replace(tiny_config().sampling, windows=WindowsConfig(overlap=1)),
    )
    torch.manual_seed(0)
    save_emo(build_networks(config), tmp_path / "windows.safetensors", dtype=torch.float32)
    graph = make_graph(pack, dataclasses.replace(toy, model=tmp_path / "windows.safetensors"))
    seen_frames = []
    backbone = graph.model.model.diffusion_model
    hook = backbone.register_forward_hook(lambda module, given, out: seen_frames.append(len(out)))
    guider, latent = graph.guider(guidance=1.0)
    sampler, sigmas = graph.node("DDIM").execute(graph.model, STEPS).args
    sample(guider, latent, sampler, sigmas)
    hook.remove()
    _, data = preflight(graph, guidance=1.0)
    film = data["film"]
    assert (film["num_clips"], film["num_steps"], film["is_in_windows"]) == (1, STEPS, True)
    assert film["num_passes"] == len(seen_frames) == 5 * STEPS
    assert {film["clip_frames"]} == set(seen_frames)
    assert data["measured"]["sampling"]["num_timed"] == 2
    assert data["seconds"]["sample"] == pytest.approx(
        film["num_passes"] * data["measured"]["sampling"]["pass_s"]
    )


def test_without_a_vae_only_sampling_is_measured(graph):
    report, data = preflight(graph)
    assert set(data["seconds"]) == {"prepare", "sample", "total"}
    assert data["measured"]["sampling"]["num_timed"] == 4
    assert data["measured"]["frame_bytes"] is None
    assert "RAM for decoding" not in levels(data)
    assert "decode" not in report


def test_with_a_vae_the_whole_way_is(graph):
    report, data = preflight(graph, vae=graph.vae)
    assert set(data["seconds"]) == {"prepare", "sample", "decode", "write", "total"}
    assert all(data["seconds"][part] > 0 for part in ("sample", "decode", "write"))
    found = {finding["what"]: finding for finding in data["findings"]}
    assert set(levels(data).values()) == {"fits"} and data["verdict"] == "fits"
    assert {"RAM for sampling", "RAM for decoding", "RAM for IMAGE"} < set(found)
    assert found["RAM for IMAGE"]["needed_bytes"] == NUM_FRAMES * 64 * 64 * 3 * 4
    film = round(NUM_FRAMES * data["measured"]["frame_bytes"])
    disks = [finding for what, finding in found.items() if what.startswith("disk")]
    # The film, its copy that can be watched, Save Video's; latents in temp and in the store.
    latents = NUM_FRAMES * 4 * 8 * 8 * 4
    motion = 4 * 2 * 4 * 8 * 8 * 4
    found_bytes = sum(disk["needed_bytes"] for disk in disks)
    assert found_bytes == pytest.approx(3 * film + 2 * latents + motion, abs=4)
    assert report.splitlines()[-1] == "verdict  It fits."


def test_memory_is_what_comfyui_reserves(graph, monkeypatch):
    """Its own estimate, seen while it samples a clip."""
    import comfy.sampler_helpers

    seen = []
    estimate = comfy.sampler_helpers.estimate_memory

    def watched(*arguments):
        seen.append(estimate(*arguments))
        return seen[-1]

    monkeypatch.setattr(comfy.sampler_helpers, "estimate_memory", watched)
    guider, latent = graph.guider()
    sampler, sigmas = graph.node("DDIM").execute(graph.model, 2).args
    sample(guider, latent, sampler, sigmas)
    reserved = {round(usual) for usual, _ in seen}
    seen.clear()
    _, data = preflight(graph)
    assert {data["findings"][0]["needed_bytes"]} == reserved


@pytest.mark.parametrize(
    "name", ["euler", "heun", "dpm_fast", "dpm_adaptive", "uni_pc", "sa_solver"]
)
def test_samplers_of_all_kinds_are_timed(graph, name):
    sampling = preflight(graph, sampler_name=name)[1]["measured"]["sampling"]
    assert 0 < sampling["fastest_pass_s"] <= sampling["pass_s"] <= sampling["slowest_pass_s"] < 60


def test_a_full_disk(graph, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 0))
    report, data = preflight(graph)
    assert data["verdict"] == "refused"
    refused = [what for what, level in levels(data).items() if level == "refused"]
    assert refused and all(what.startswith("disk of ") for what in refused)
    assert "--output-directory" in report
    with pytest.raises(ValueError, match="EMO Pre-flight: the film does not fit. disk of .* Free"):
        preflight(graph, if_it_does_not_fit="stop")


def test_too_little_memory_is_refused_before_anything_is_sampled(graph, monkeypatch):
    import comfy.model_management

    monkeypatch.setattr(comfy.model_management, "get_total_memory", lambda device: 1000)
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device: 500)
    report, data = preflight(graph, vae=graph.vae)
    assert levels(data)["RAM for sampling"] == "refused"
    assert levels(data)["RAM for decoding"] == "warning", "it can be done in tiles"
    assert levels(data)["RAM for IMAGE"] == "warning", "it can be left out"
    assert data["seconds"] is None
    assert "not measured" in report
    with pytest.raises(ValueError, match="does not fit. RAM for sampling: needs .* smaller size"):
        preflight(graph, if_it_does_not_fit="stop")


def test_on_a_card_the_weights_count_and_may_be_streamed(graph, monkeypatch):
    """No card is here; ComfyUI is told that the CPU is one."""
    import comfy.model_management

    on_cpu = preflight(graph)[1]["findings"][0]
    monkeypatch.setattr(comfy.model_management, "is_device_cpu", lambda device: False)
    working, weights = on_cpu["needed_bytes"], graph.model.model_size()
    for total, level in ((working // 4, "refused"), (working, "warning")):
        for name in ("get_total_memory", "get_free_memory"):
            # What is loaded already counts as free.
            there = total - (graph.model.loaded_size() if "free" in name else 0)
            monkeypatch.setattr(comfy.model_management, name, lambda device, there=there: there)
        _, data = preflight(graph)
        on_card = data["findings"][0]
        assert (on_card["what"], on_card["level"]) == ("VRAM for sampling", level)
        assert (on_card["needed_bytes"], on_card["available_bytes"]) == (working + weights, total)


def test_a_foreign_vae_is_refused(graph):
    import comfy.sd

    with pytest.raises(ValueError, match="EMO Pre-flight: the VAE"):
        preflight(graph, vae=comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}))


def preflight_prompt(**changed) -> dict:
    """The one-node way, with a pre-flight beside the sampler."""
    prompt = talk_prompt(seed=11)
    inputs = {
        "model": ["load", 0],
        "reference": ["reference", 0],
        "emo_audio": ["audio", 0],
        "face_region": ["region", 0],
        "head_speed": ["speed", 0],
        "steps": 3,
        "guidance": 0.0,
        "sampler_name": "auto",
        "if_it_does_not_fit": "stop",
        "vae": ["vae", 0],
    }
    return prompt | {"preflight": node("EMO_Preflight", **(inputs | changed))}


def test_it_runs_alone_and_shows_its_text(server):
    prompt = preflight_prompt()
    for name in ("sampler", "stitcher", "save"):
        del prompt[name]
    run = server.run(prompt)
    assert run.status == "success", run.error
    (text,) = run.outputs["preflight"]["text"]
    assert text.startswith(f"film     {NUM_FRAMES} frames of 64x64 at 25 fps")
    # Of an output node's text the front end shows nothing.
    (shown,) = [data["text"] for data in run.of("text") if data["node_id"] == "preflight"]
    verdict, _, table = shown.replace("\u2007", " ").partition("\n")
    assert text.endswith(verdict) and table == text


@pytest.fixture(scope="module")
def cramped(toy: ToyFiles, tmp_path_factory: pytest.TempPathFactory):
    """A server whose disks are full."""
    from comfy_server import install, start_server

    base: Path = tmp_path_factory.mktemp("cramped")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "small_disk.py").write_text(SMALL_DISK)
    server = start_server(COMFYUI, base, ROOT)
    install(server, "models/emo", toy.model)
    install(server, "models/vae", toy.vae)
    install(server, "input", toy.portrait, toy.voice)
    yield server
    server.stop()


def test_stop_ends_the_prompt_before_the_sampler(cramped):
    run = cramped.run(preflight_prompt())
    assert run.status == "error"
    assert run.error.startswith("EMO_Preflight: EMO Pre-flight: the film does not fit. disk of")
    assert "sampler" not in run.executed
    warned = cramped.run(preflight_prompt(if_it_does_not_fit="warn"))
    assert warned.status == "success", warned.error
    assert "refused  disk of" in warned.outputs["preflight"]["text"][0]
    assert warned.executed.index("preflight") < warned.executed.index("sampler")


def test_it_is_measured_again_when_a_disk_has_room_again(graph, monkeypatch):
    node = graph.node("Preflight")
    free = 5.2e9
    usage = lambda folder: shutil._ntuple_diskusage(10**12, 0, int(free))  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", usage)
    before = node.fingerprint_inputs()
    free = 5.1e9
    assert node.fingerprint_inputs() == before
    free = 9e9
    assert node.fingerprint_inputs() != before
