"""Clip store and retakes in ComfyUI: what is there is not made again, and never wrongly taken."""

import dataclasses
from pathlib import Path

import pytest
import torch
from conftest import SAMPLE_RATE_HZ, voice_samples
from graph import Graph, make_graph, sample

from emo_core.audio.waveform import Waveform
from emo_core.pipeline import AnimateSettings, Animator, RetakeSettings
from emo_core.video.images import read_image

NUM_CLIPS = 4
"""Of four frames, the last of three."""


@pytest.fixture(scope="module")
def graph(pack, toy) -> Graph:
    return make_graph(pack, toy)


@pytest.fixture
def store(pack, tmp_path: Path) -> Path:
    """An empty store."""
    import folder_paths

    before = folder_paths.get_user_directory()
    folder_paths.set_user_directory(str(tmp_path))
    yield tmp_path / "emo_clips"
    folder_paths.set_user_directory(before)


class Steps:
    """Counts the steps that are really run."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *call: object) -> None:
        self.count += 1


def film(graph: Graph, *, model=None, seed: int = 5, steps: int = 3, **inputs):
    """The film with the store, and the steps that it took."""
    model = model or graph.model
    guider, latent = graph.guider(model=model, keep_clips=True, **inputs)
    sampler, sigmas = graph.node("DDIM").execute(model, steps).args
    counted = Steps()
    original = guider._make

    def counting(*arguments):
        counted.count += 1
        return original(*arguments)

    guider._make = counting
    made = sample(guider, latent, sampler, sigmas, seed=seed)
    return made, counted.count


def test_a_second_run_makes_nothing(graph, store):
    plain = graph.film()
    first, made = film(graph)
    assert made == NUM_CLIPS and torch.equal(first, plain)
    assert len(list(store.glob("*.safetensors"))) == NUM_CLIPS
    again, made = film(graph)
    assert made == 0 and torch.equal(again, plain)


def test_off_by_one_switch(graph, store):
    graph.film()
    assert not store.exists()


def test_both_sampling_nodes_share_clips(graph, store, monkeypatch):
    from server import PromptServer

    told = []

    class Listening:
        def send_progress_text(self, text: str, node_id: str) -> None:
            told.append(text)

    monkeypatch.setattr(PromptServer, "instance", Listening(), raising=False)
    made, _ = film(graph)
    chosen = graph.film_inputs() | {"keep_clips": True, "seed": 5, "steps": 3, "guidance": 2.0}
    node = graph.node("Sampler")
    sampler, sigmas = graph.node("DDIM").execute(graph.model, 3).args
    guider, latent = graph.guider(keep_clips=True)
    stretches = guider.stretches_of_seed(5, sampler, sigmas, callback=None, disable_pbar=True)
    with torch.inference_mode():
        assert torch.equal(torch.cat([part.latents for part in stretches]), made)
    assert guider.num_recalled == NUM_CLIPS
    with torch.inference_mode():
        for times in range(2):
            latent = node.PREPARE_CLASS_CLONE(None).execute(
                sampler_name="euler", scheduler="simple", **chosen
            )
            assert len(told) == times
    assert told[0].startswith("4 clips were in ")
    assert latent.args[0]["samples"].shape == made.shape


def test_a_lost_clip_is_made_again_and_no_other(graph, store):
    plain, _ = film(graph)
    in_order = sorted(store.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    in_order[1].unlink()
    in_order[2].write_bytes(in_order[2].read_bytes()[:-9])
    again, made = film(graph)
    assert made == 2 and torch.equal(again, plain)


def test_what_shapes_a_film_makes_it_again(graph, store, pack, toy):
    import comfy.samplers
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete, RescaleCFG

    film(graph)
    speed = graph.node("HeadSpeed").execute(20.0, 25.0, 1.0, 0.2).args[0]
    lora = graph.model.clone()
    key = "diffusion_model.conv_in.weight"
    shape = lora.model.state_dict()[key].shape
    lora.add_patches({key: ("diff", (torch.full(shape, 0.01),))}, 1.0)
    stronger = graph.model.clone()
    stronger.add_patches({key: ("diff", (torch.full(shape, 0.01),))}, 1.5)
    for change in (
        {"seed": 6},
        {"steps": 4},
        {"guidance": 3.0},
        {"head_speed": speed},
        {"audio_weight": 1.2},
        {"model": lora},
        {"model": stronger},
        {"model": RescaleCFG().patch(graph.model, 0.7)[0]},
        {"model": RescaleCFG().patch(graph.model, 0.5)[0]},
        {"model": ModelSamplingDiscrete().patch(graph.model, "v_prediction", False)[0]},
    ):
        different, made = film(graph, **change)
        assert made == NUM_CLIPS, change
        again, made = film(graph, **change)
        assert made == 0 and torch.equal(again, different), change
    guider, latent = graph.guider(keep_clips=True)
    _, sigmas = graph.node("DDIM").execute(graph.model, 3).args
    for name in ("euler", "dpmpp_2m", "euler_ancestral"):
        by_other = sample(guider, latent, comfy.samplers.sampler_object(name), sigmas)
        assert guider.num_recalled == 0, name
        again = sample(guider, latent, comfy.samplers.sampler_object(name), sigmas)
        assert guider.num_recalled == NUM_CLIPS and torch.equal(again, by_other), name


def test_the_same_weights_loaded_again_are_the_same(graph, store, pack, toy):
    made, _ = film(graph)
    other = make_graph(pack, toy)
    again, count = film(other)
    assert count == 0 and torch.equal(again, made)


def test_what_cannot_be_seen_through_is_not_kept(graph, store, caplog):
    model = graph.model.clone()
    model.model_options["sampler_post_cfg_function"] = [iter([])]
    guider, _ = graph.guider(model=model, keep_clips=True)
    _, sigmas = graph.node("DDIM").execute(graph.model, 3).args
    assert guider._memory(guider.film, None, None, sigmas, 2.0, 5, None) is None
    assert "cannot be told from other things: options.sampler_post_cfg_function[0]" in caplog.text


def test_an_interrupted_film_goes_on(graph, store):
    import comfy.model_management as management

    plain = graph.film()
    guider, latent = graph.guider(keep_clips=True)
    sampler, sigmas = graph.node("DDIM").execute(graph.model, 3).args

    def interrupting(step, *_):
        management.interrupt_current_processing(step == 7)
        management.throw_exception_if_processing_interrupted()

    with pytest.raises(management.InterruptProcessingException):
        sample(guider, latent, sampler, sigmas, callback=interrupting)
    again, made = film(graph)
    assert made == 2 and torch.equal(again, plain)


def test_latents_of_the_one_node_way_lie_in_a_file(graph):
    with torch.inference_mode():
        chosen = graph.film_inputs() | {"seed": 5, "steps": 2, "guidance": 2.0}
        latent = (
            graph.node("Sampler").execute(sampler_name="euler", scheduler="simple", **chosen).args
        )[0]
    samples = latent["samples"]
    assert torch.equal(samples, latent["emo_file"].tensor())
    assert (samples * 2).shape == (15, 4, 8, 8) and samples.dtype == torch.float32


def retake(graph: Graph, start: float, end: float, **changes):
    chosen = {
        "seed": 9,
        "blend_frames": 2,
        "guidance": 0.0,
        "reference_weight": -1.0,
        "audio_weight": -1.0,
        "speed_weight": -1.0,
    }
    return graph.node("Retake").execute(start, end, **(chosen | changes)).args[0]


def test_a_retake_changes_its_part_alone(graph, store):
    old, _ = film(graph)
    again = retake(graph, 0.2, 0.36)
    new, made = film(graph, retake=again)
    assert made == 2, "frames 5 to 11 with their blend: two clips, and the old ones are kept"
    assert torch.equal(new[:5], old[:5]) and torch.equal(new[11:], old[11:])
    assert not torch.isclose(new[5:9], old[5:9]).all(dim=(1, 2, 3)).any()
    assert film(graph, retake=again)[1] == 0
    two = graph.node("Retake").execute(0.4, 0.6, 3, 2, 0.0, -1.0, -1.0, -1.0, previous=again)
    both, made = film(graph, retake=two.args[0])
    assert made == 2 and torch.equal(both[:10], new[:10]) and not torch.equal(both[10:], new[10:])


def test_headless_and_comfyui_give_the_same_retake(graph, toy):
    speed = graph.node("HeadSpeed").execute(20.0, 25.0, 1.0, 0.2).args[0]
    made = graph.film(
        retake=retake(graph, 0.2, 0.36, guidance=3.0, head_speed=speed, audio_weight=1.5)
    )
    animator = Animator.load(toy.model, toy.vae, device=torch.device("cpu"))
    sound = Waveform(voice_samples(0.6)[None], SAMPLE_RATE_HZ)
    chosen = AnimateSettings(steps=3, guidance=2.0, solver="ddim", seed=5)
    film = animator.film(read_image(toy.portrait), sound, settings=chosen)
    again = RetakeSettings(
        start_s=0.2,
        end_s=0.36,
        seed=9,
        blend_frames=2,
        guidance=3.0,
        speed_deg_s=20.0,
        weights=dataclasses.replace(film.weights, audio=1.5),
    )
    headless = torch.cat(list(animator.sample(film, settings=chosen, retakes=[again])))
    assert (made - headless).abs().max() <= 1e-3
    assert (made - graph.film()).abs().max() > 0.1


def test_a_part_outside_the_film_is_an_error(graph):
    from emo_core.errors import InputError

    with pytest.raises(Exception, match="inside the film's 0.60 s") as found:
        graph.guider(retake=retake(graph, 0.7, 0.9))
    assert type(found.value).__name__ == InputError.__name__


def test_headless_and_comfyui_anchor_alike(graph, toy):
    made = graph.film(anchor_every=2, anchor_share=0.5)
    animator = Animator.load(toy.model, toy.vae, device=torch.device("cpu"))
    sound = Waveform(voice_samples(0.6)[None], SAMPLE_RATE_HZ)
    chosen = AnimateSettings(steps=3, guidance=2.0, solver="ddim", seed=5, anchor_every=2)
    film = animator.film(read_image(toy.portrait), sound, settings=chosen)
    headless = torch.cat(list(animator.sample(film, settings=chosen)))
    assert (made - headless).abs().max() <= 1e-4
    plain = graph.film()
    assert torch.equal(made[:8], plain[:8]) and not torch.equal(made[8:], plain[8:])


def test_a_full_store_does_not_cost_the_film(graph, store, monkeypatch, caplog):
    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    plain = graph.film()
    with monkeypatch.context() as patch:
        patch.setattr("emo_pack.emo_core.files.write._write", refuse)
        full, made = film(graph)
    assert made == NUM_CLIPS and torch.equal(full, plain)
    assert caplog.text.count("are not kept") == NUM_CLIPS and "the disk is full" in caplog.text
    assert not list(store.iterdir())
    assert film(graph)[1] == NUM_CLIPS
