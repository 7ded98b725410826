"""EMO as a native MODEL: the same film headless and in ComfyUI, by every route and sampler."""

import dataclasses
import importlib
from pathlib import Path

import pytest
import torch
from conftest import SAMPLE_RATE_HZ, ToyFiles, voice_samples
from graph import Graph, make_graph, sample
from tiny import tiny_networks

from emo_core.audio.waveform import Waveform
from emo_core.checkpoints.emo import save_emo
from emo_core.pipeline import AnimateSettings, Animator
from emo_core.video.images import read_image

NUM_FRAMES = 15
"""0.6 s at 25 fps: three whole clips of four and one of three."""


@pytest.fixture(scope="module")
def graph(pack, toy) -> Graph:
    return make_graph(pack, toy)


def sampled_so(toy: ToyFiles, path: Path, **changes: object) -> ToyFiles:
    """The toy checkpoint, which asks to be sampled otherwise, in a file of its own."""
    networks = tiny_networks()
    sampling = dataclasses.replace(networks.config.sampling, **changes)
    config = dataclasses.replace(networks.config, sampling=sampling)
    save_emo(dataclasses.replace(networks, config=config), path, dtype=torch.float32)
    return dataclasses.replace(toy, model=path)


@pytest.fixture(scope="module")
def sharing(toy, tmp_path_factory) -> ToyFiles:
    """Clips of 4 frames, each of which begins with the last of the one before."""
    path = tmp_path_factory.mktemp("sharing") / "sharing.safetensors"
    return sampled_so(toy, path, clip_overlap=1, solver="ddim")


@pytest.fixture(scope="module")
def by_sharing(pack, sharing) -> Graph:
    return make_graph(pack, sharing)


def headless(toy, **settings) -> torch.Tensor:
    """Latents of the film as the command line makes it."""
    animator = Animator.load(toy.model, toy.vae, device=torch.device("cpu"))
    sound = Waveform(voice_samples(0.6)[None], SAMPLE_RATE_HZ)
    chosen = AnimateSettings(
        **{"steps": 3, "guidance": 2.0, "solver": "ddim", "seed": 5} | settings
    )
    film = animator.film(read_image(toy.portrait), sound, settings=chosen)
    return torch.cat(list(animator.sample(film, settings=chosen)))


def test_headless_and_comfyui_give_the_same_latents(graph, toy):
    made = graph.film()
    assert made.shape == (NUM_FRAMES, 4, 8, 8)
    assert (made - headless(toy)).abs().max() <= 1e-5
    speed = graph.node("HeadSpeed").execute(20.0, 25.0, 1.0, 0.2).args[0]
    with_speed = graph.film(head_speed=speed)
    assert (with_speed - headless(toy, speed_deg_s=20.0)).abs().max() <= 1e-5
    assert (with_speed - made).abs().max() > 1e-3


def test_clips_that_share_frames_give_the_same_latents_too(graph, sharing, by_sharing):
    made, expected = by_sharing.film(), headless(sharing)
    assert made.shape == (NUM_FRAMES, 4, 8, 8)
    assert (made - expected).abs().max() <= 1e-5
    with torch.inference_mode():
        by_node = by_sharing.node("Sampler").execute(
            seed=5, steps=3, guidance=2.0, sampler_name="auto", scheduler="auto",
            **by_sharing.film_inputs(),
        )  # fmt: skip
    assert (by_node.args[0]["samples"] - expected).abs().max() <= 1e-5
    apart = graph.film()
    assert (made[:3] - apart[:3]).abs().max() <= 1e-5
    assert (made[3] - apart[3]).abs().max() > 1e-3

    guider, latent = by_sharing.guider()
    sampler, sigmas = graph.node("DDIM").execute(by_sharing.model, 3).args
    calls = []
    again = sample(guider, latent, sampler, sigmas, callback=lambda *call: calls.append(call))
    assert torch.equal(again, made)
    assert [call[0] for call in calls] == [*range(15), 14]
    assert len(calls[-1][1]) == NUM_FRAMES
    assert (calls[-1][1] - made).abs().max() < 1e-5


def test_clips_that_share_frames_are_handed_to_another_sampler_as_they_are(by_sharing):
    """Estimates, which lead the clips then, are the film's frames; and noise is not faded."""
    import comfy.samplers

    latent = by_sharing.guider()[1]
    euler, lcm = (comfy.samplers.sampler_object(name) for name in ("euler", "lcm"))
    _, sigmas = by_sharing.node("DDIM").execute(by_sharing.model, 6).args
    whole = sample(by_sharing.guider()[0], latent, euler, sigmas)
    calls = []
    sample(by_sharing.guider()[0], latent, euler, sigmas[:5], callback=lambda *c: calls.append(c))
    estimate = calls[-1][1].flatten(1)
    near = torch.nn.functional.cosine_similarity(estimate, whole.flatten(1))
    assert near.min() > 0.95
    # Of a sampler that draws noise on its way, for each clip by itself.
    noisy = sample(by_sharing.guider()[0], latent, lcm, sigmas[:3])
    noise = noisy.std(dim=(1, 2, 3))
    assert noise[3::3].mean() / noise[1::3].mean() == pytest.approx(1.0, abs=0.1)


def test_lcm_gives_the_same_latents_too(graph, toy, pack, tmp_path, monkeypatch):
    """By what 'auto' takes for checkpoints of this solver, and by ComfyUI's own."""
    import comfy.samplers

    expected = headless(toy, solver="lcm")
    assert (headless(toy) - expected).abs().max() > 1e-2
    lcm = sampled_so(toy, tmp_path / "lcm.safetensors", solver="lcm", steps=3)
    by_auto = make_graph(pack, lcm)
    with torch.inference_mode():
        film = by_auto.node("Sampler").execute(
            seed=5, steps=0, guidance=2.0, sampler_name="auto", scheduler="auto",
            **by_auto.film_inputs(),
        )  # fmt: skip
    assert (film.args[0]["samples"] - expected).abs().max() <= 1e-5

    preflight = importlib.import_module(f"{pack.__name__}.preflight")
    asked, own_schedule = [], preflight.own_schedule
    monkeypatch.setattr(
        preflight, "own_schedule", lambda *a, **how: asked.append(how) or own_schedule(*a, **how)
    )
    with torch.inference_mode():
        guider, _ = by_auto.guider()
        preflight.measure(
            by_auto.model, guider.to_sample, None, steps=4, guidance=2.0, sampler="auto"
        )
    assert [how["solver"] for how in asked] == ["lcm"]

    sigmas = comfy.samplers.calculate_sigmas(
        graph.model.get_model_object("model_sampling"), "sgm_uniform", 3
    )
    guider, latent = graph.guider()
    near = sample(guider, latent, comfy.samplers.sampler_object("lcm"), sigmas)
    assert (near - expected).abs().max() <= 0.05


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (("dpmpp_2m", "sgm_uniform"), ("dpmpp_2m", "sgm_uniform")),
        (("auto", "auto"), ("dpmpp_2m", "sgm_uniform")),
        (("euler", "karras"), ("euler", "karras")),
    ],
    ids=["usual", "auto", "other"],
)
def test_one_node_and_the_guider_are_the_same(graph, asked, meant):
    import comfy.samplers

    guider, latent = graph.guider()
    sigmas = comfy.samplers.calculate_sigmas(
        graph.model.get_model_object("model_sampling"), meant[1], 4
    )
    by_guider = sample(guider, latent, comfy.samplers.sampler_object(meant[0]), sigmas)
    with torch.inference_mode():
        by_node = graph.node("Sampler").execute(
            seed=5, steps=4, guidance=2.0, sampler_name=asked[0], scheduler=asked[1],
            **graph.film_inputs(),
        )  # fmt: skip
    assert torch.equal(by_guider, by_node.args[0]["samples"])


def test_clips_chained_through_ksampler_are_the_guiders_film(graph):
    """Conditioning with `previous`, sampled by ComfyUI's KSampler function, clip after clip."""
    import comfy.sample

    guider, latent = graph.guider()
    sigmas = comfy.samplers.calculate_sigmas(
        graph.model.get_model_object("model_sampling"), "simple", 3
    )
    whole = sample(guider, latent, comfy.samplers.sampler_object("euler"), sigmas)
    noise = comfy.sample.prepare_noise(latent["samples"], 5)
    previous, clips = None, []
    for first in (0, 4, 8):
        positive, negative, empty = graph.conditioning(first_frame=first, previous=previous)
        with torch.inference_mode():
            clip = comfy.sample.sample(
                graph.model, noise[first : first + 4], 3, 2.0, "euler", "simple",
                positive, negative, empty["samples"], seed=5, disable_pbar=True,
            )  # fmt: skip
        clips.append(clip)
        previous = {"samples": clip}
    # The first sigma is 4519, which leaves few digits for the rest.
    assert (torch.cat(clips) - whole[:12]).abs().max() <= 2e-4


def test_every_sampler_and_scheduler_runs(graph):
    import comfy.samplers

    model_sampling = graph.model.get_model_object("model_sampling")
    for name in comfy.samplers.KSampler.SAMPLERS:
        guider, latent = graph.guider()
        sigmas = comfy.samplers.calculate_sigmas(model_sampling, "sgm_uniform", 2)
        made = sample(guider, latent, comfy.samplers.sampler_object(name), sigmas)
        assert made.shape == (NUM_FRAMES, 4, 8, 8), name
        assert torch.isfinite(made).all(), name
    for name in comfy.samplers.KSampler.SCHEDULERS:
        guider, latent = graph.guider()
        sigmas = comfy.samplers.calculate_sigmas(model_sampling, name, 2)
        made = sample(guider, latent, comfy.samplers.sampler_object("euler"), sigmas)
        assert torch.isfinite(made).all(), name


def test_previews_show_the_newest_frame_and_the_estimate_is_the_whole_film(graph):
    guider, latent = graph.guider()
    sampler, sigmas = graph.node("DDIM").execute(graph.model, 3).args
    calls = []
    made = sample(guider, latent, sampler, sigmas, callback=lambda *call: calls.append(call))
    assert [call[0] for call in calls] == [*range(12), 11]
    assert {call[3] for call in calls} == {12}
    assert {len(call[1]) for call in calls[:12]} == {1}
    assert len(calls[-1][1]) == NUM_FRAMES
    # Toy latents have scale 1, so the last clean estimate of a clip is the clip.
    assert (calls[2][1][0] - made[3]).abs().max() < 0.05


@pytest.mark.parametrize("name", ["dpm_fast", "dpm_adaptive", "heun"])
def test_samplers_that_count_steps_their_own_way_give_the_whole_estimate(graph, name):
    import comfy.samplers

    guider, latent = graph.guider()
    model_sampling = graph.model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(model_sampling, "karras", 4)
    calls = []
    sampler = comfy.samplers.sampler_object(name)
    sample(guider, latent, sampler, sigmas, callback=lambda *call: calls.append(call))
    assert len(calls[-1][1]) == NUM_FRAMES
    assert all(call[0] < call[3] for call in calls)


def test_clips_of_a_sampler_that_adds_noise_do_not_all_add_the_same(graph):
    """Ancestral samplers draw from the seed they are given; every clip has one of its own."""
    import comfy.samplers

    seeds = []

    class Listening(comfy.samplers.KSAMPLER):
        def sample(self, guider, sigmas, extra_args, *args, **more):
            seeds.append(extra_args["seed"])
            return super().sample(guider, sigmas, extra_args, *args, **more)

    guider, latent = graph.guider()
    _, sigmas = graph.node("DDIM").execute(graph.model, 2).args
    function = comfy.samplers.sampler_object("euler_ancestral").sampler_function
    sample(guider, latent, Listening(function), sigmas, seed=7)
    assert seeds == [7, 8, 9, 10]


def test_a_film_sampled_in_two_stretches_is_led_by_what_clips_will_become(graph):
    """SplitSigmas: the first sampler stops while the film is still noisy."""
    import comfy.samplers

    model_sampling = graph.model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(model_sampling, "sgm_uniform", 6)
    euler = comfy.samplers.sampler_object("euler")
    guider, latent = graph.guider()
    whole = sample(guider, latent, euler, sigmas)
    noisy = sample(guider, latent, euler, sigmas[:5])
    rest = graph.guider()[0]
    with torch.inference_mode():
        done = rest.sample(
            torch.zeros_like(noisy), noisy, euler, sigmas[4:], seed=5, disable_pbar=True
        )
    # The first clip has no one before it; it must be the very same. Later ones are close.
    assert (done[:4] - whole[:4]).abs().max() < 1e-4
    similarity = torch.nn.functional.cosine_similarity(done.flatten(), whole.flatten(), dim=0)
    assert similarity > 0.98


def test_an_interrupt_ends_within_a_step_and_the_next_run_is_whole(graph):
    import comfy.model_management as management

    guider, latent = graph.guider()
    sampler, sigmas = graph.node("DDIM").execute(graph.model, 3).args
    seen = []

    def interrupting(step, *_):
        seen.append(step)
        management.interrupt_current_processing(step == 4)
        management.throw_exception_if_processing_interrupted()

    with pytest.raises(management.InterruptProcessingException):
        sample(guider, latent, sampler, sigmas, callback=interrupting)
    assert seen[-1] == 4
    assert not guider.original_conds
    assert not {"conds", "inner_model", "loaded_models"} & set(vars(guider))
    again = sample(guider, latent, sampler, sigmas)
    assert torch.equal(again, graph.film())


def test_prepared_conditions_do_not_outlive_the_call(graph):
    guider, latent = graph.guider()
    sampler, sigmas = graph.node("DDIM").execute(graph.model, 2).args
    sample(guider, latent, sampler, sigmas)
    assert not guider.original_conds
    assert not hasattr(guider, "conds")


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp8_e4m3fn", "fp8_e5m2"])
def test_smaller_weights_give_nearly_the_same_film(pack, toy, graph, dtype):
    small = make_graph(pack, toy, dtype=dtype).film()
    exact = graph.film()
    similarity = torch.nn.functional.cosine_similarity(small.flatten(), exact.flatten(), dim=0)
    assert similarity > (0.9 if dtype.startswith("fp8") else 0.999)
