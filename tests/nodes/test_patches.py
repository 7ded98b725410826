"""Nodes of ComfyUI that patch a MODEL work on EMO's as on any other."""

import dataclasses

import pytest
import torch
from graph import Graph, make_graph, sample
from safetensors.torch import save_file
from tiny import tiny_networks

from emo_core.checkpoints.emo import save_emo
from emo_core.config import MotionConfig
from emo_core.training.lora import Adapter, adapted_twin, adapter_lora, merged


@pytest.fixture(scope="module")
def graph(pack, toy) -> Graph:
    return make_graph(pack, toy)


@pytest.fixture(scope="module")
def film(graph) -> torch.Tensor:
    return graph.film()


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


@pytest.fixture
def lora(graph, tmp_path) -> str:
    """A LoRA of rank 2 in kohya's names for Stable Diffusion 1.5."""
    import folder_paths

    torch.manual_seed(3)
    tensors = {}
    for key, value in graph.model.model.diffusion_model.state_dict().items():
        if ".attentions." in key and key.endswith(("attn1.to_q.weight", "attn1_5.to_v.weight")):
            name = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
            tensors[f"{name}.lora_down.weight"] = torch.randn(2, value.shape[1])
            tensors[f"{name}.lora_up.weight"] = torch.randn(value.shape[0], 2)
            tensors[f"{name}.alpha"] = torch.tensor(2.0)
    save_file(tensors, tmp_path / "style.safetensors")
    folder_paths.add_model_folder_path("loras", str(tmp_path))
    return "style.safetensors"


def test_a_lora_changes_the_film_and_strength_zero_does_not(graph, film, lora, caplog):
    import nodes

    load = nodes.LoraLoaderModelOnly().load_lora_model_only
    patched = graph.film(model=load(graph.model, lora, 1.0)[0])
    assert difference(patched, film) > 1e-2
    assert difference(graph.film(model=load(graph.model, lora, 0.0)[0]), film) == 0.0
    assert "not loaded" not in caplog.text
    assert difference(graph.film(), film) == 0.0


def test_what_was_distilled_is_the_same_as_a_lora_and_as_a_checkpoint(
    graph, film, tmp_path, caplog
):
    """Every layer has its adapter, convolutions too; no name of theirs is unknown to ComfyUI."""
    import comfy.sd
    from emo_pack.nodes.loading import load_emo

    teacher = tiny_networks()
    twin = adapted_twin(teacher.backbone, rank=4)
    for module in twin.modules():
        if isinstance(module, Adapter):
            torch.nn.init.normal_(module.up, std=0.1)
    student = dataclasses.replace(teacher, backbone=merged(teacher.backbone, twin))
    save_emo(student, tmp_path / "student.safetensors", dtype=torch.float32)
    with torch.inference_mode():
        checkpoint = load_emo(tmp_path / "student.safetensors", dtype=torch.float32).model
    patched, _ = comfy.sd.load_lora_for_models(graph.model, None, adapter_lora(twin), 1.0, 0.0)
    by_lora, by_checkpoint = graph.film(model=patched), graph.film(model=checkpoint)
    assert "not loaded" not in caplog.text.lower()
    assert difference(by_lora, film) > 0.1
    # What half precision leaves of the adapters.
    assert difference(by_lora, by_checkpoint) < 0.02 * difference(by_lora, film)


def test_a_lora_on_the_conditioning_counts_for_what_is_projected_too(graph, lora):
    """Hooks bind a LoRA to a conditioning; keys and values are projected before sampling."""
    import comfy.hooks
    import comfy.sample
    import comfy.utils
    import folder_paths

    import nodes

    path = folder_paths.get_full_path_or_raise("loras", lora)
    tensors = comfy.utils.load_torch_file(path, safe_load=True)

    def run(model, hooks):
        positive, negative, latent = graph.conditioning()
        for entry in (*positive, *negative):
            if hooks is not None:
                entry[1]["hooks"] = hooks
        noise = comfy.sample.prepare_noise(latent["samples"], 5)
        with torch.inference_mode():
            return comfy.sample.sample(
                model, noise, 3, 2.0, "euler", "simple", positive, negative, latent["samples"],
                seed=5, disable_pbar=True,
            )  # fmt: skip

    by_hook = run(graph.model, comfy.hooks.create_hook_lora(tensors, 1.0, 0.0))
    patched = nodes.LoraLoaderModelOnly().load_lora_model_only(graph.model, lora, 1.0)[0]
    assert difference(by_hook, run(patched, None)) < 1e-5
    assert difference(by_hook, run(graph.model, None)) > 1e-2


def test_easy_cache_skips_steps_and_stays_close(graph):
    from comfy_extras.nodes_easycache import EasyCacheNode

    exact = graph.film(steps=12)
    cached = EasyCacheNode.execute(graph.model, 0.3, 0.1, 0.95, False).args[0]
    made = graph.film(model=cached, steps=12)
    assert torch.isfinite(made).all()
    assert 0.0 < difference(made, exact)


def test_rescale_cfg_and_another_schedule_change_the_film(graph, film):
    import comfy.samplers
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete, RescaleCFG

    (rescaled,) = RescaleCFG().patch(graph.model, 0.7)
    assert difference(graph.film(model=rescaled), film) > 1e-4

    def by_euler(model):
        guider, latent = graph.guider(model=model)
        model_sampling = model.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(model_sampling, "sgm_uniform", 3)
        return sample(guider, latent, comfy.samplers.sampler_object("euler"), sigmas)

    own = by_euler(graph.model)
    (same,) = ModelSamplingDiscrete().patch(graph.model, "v_prediction", True)
    assert difference(by_euler(same), own) < 1e-4
    (other,) = ModelSamplingDiscrete().patch(graph.model, "v_prediction", False)
    assert difference(by_euler(other), own) > 1e-3


@pytest.mark.parametrize("is_first_reference", [False, True])
def test_context_windows_are_clips_of_their_own(pack, toy, tmp_path, is_first_reference):
    """All 15 frames in one sampling call; windows that do not overlap hear their own sound, and
    each begins as a film does."""
    import comfy.sample
    import comfy.samplers
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    motion = MotionConfig(is_first_reference=is_first_reference)
    config = tiny_networks().config
    config = dataclasses.replace(
        config, sampling=dataclasses.replace(config.sampling, motion=motion)
    )
    networks = dataclasses.replace(tiny_networks(), config=config)
    save_emo(networks, tmp_path / "model.safetensors", dtype=torch.float32)
    graph = make_graph(pack, dataclasses.replace(toy, model=tmp_path / "model.safetensors"))
    speed = graph.node("HeadSpeed").execute(20.0, 25.0, 1.0, 0.2).args[0]
    model_sampling = graph.model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(model_sampling, "simple", 3)
    noise = comfy.sample.prepare_noise(torch.zeros(15, 4, 8, 8), 5)

    def run(model, first, count):
        inputs = graph.conditioning(first_frame=first, num_frames=count, head_speed=speed)
        positive, negative, latent = inputs
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(2.0)
        with torch.inference_mode():
            return guider.sample(
                noise[first : first + count],
                latent["samples"],
                comfy.samplers.sampler_object("euler"),
                sigmas,
                seed=5,
                disable_pbar=True,
            )

    def windowed(length, *, has_anchor):
        settings = ("standard_static", 1, False, "flat", 0, False)
        return ContextWindowsManualNode.execute(
            graph.model, length, 0, *settings, causal_window_fix=has_anchor
        ).args[0]

    whole = run(graph.model, 0, 15)
    assert whole.shape == (15, 4, 8, 8)
    assert difference(run(windowed(16, has_anchor=False), 0, 15), whole) < 1e-4
    windows = run(windowed(5, has_anchor=False), 0, 15)
    for first in (0, 5, 10):
        clip = run(graph.model, first, 5)
        assert difference(windows[first : first + 5], clip) < 1e-3, first
    assert difference(windows, whole) > 1e-2
    # With ComfyUI's extra frame in front of each window but the first.
    anchored = run(windowed(5, has_anchor=True), 0, 15)
    assert difference(anchored[:5], windows[:5]) < 1e-3
    assert difference(anchored[5:], windows[5:]) > 1e-2


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_gives_the_same_film(graph, film):
    """What TorchCompileModel does, but without generating code, which takes minutes."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    compiled = graph.model.clone(disable_dynamic=True)
    set_torch_compile_wrapper(model=compiled, backend="eager")
    assert difference(graph.film(model=compiled), film) < 1e-4


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_weights_that_stay_behind_are_fetched_layer_by_layer(pack, toy, film, share):
    """With a small budget ComfyUI leaves weights off the device; the result does not change."""
    fresh = make_graph(pack, toy)
    for patcher in (fresh.model, fresh.reference_net.patcher):
        budget = max(1, int(share * patcher.model_size()))
        patcher.load(patcher.load_device, lowvram_model_memory=budget, full_load=False)
    layers = [m for m in fresh.model.model.modules() if hasattr(m, "comfy_cast_weights")]
    behind = sum(layer.comfy_cast_weights for layer in layers)
    assert behind == len(layers) if share == 0.0 else 0 < behind < len(layers)
    assert difference(fresh.film(), film) < 1e-6


def test_every_weight_sits_in_a_layer_that_comfyui_can_move(graph):
    """A bare parameter or a plain layer would strand on the wrong device on small cards."""
    for root in (graph.model.model.diffusion_model, graph.reference_net.patcher.model):
        for name, module in root.named_modules():
            own = dict(module.named_parameters(recurse=False))
            assert not own or hasattr(module, "comfy_cast_weights"), name
            assert not dict(module.named_buffers(recurse=False)), name


def test_models_make_room_for_others_and_come_back(graph, film):
    import comfy.model_management as management

    ours = (graph.model, graph.reference_net.patcher)

    def loaded() -> list[bool]:
        entries = management.current_loaded_models
        return [any(entry.model.is_clone(patcher) for entry in entries) for patcher in ours]

    graph.film()
    assert all(loaded())
    # What ComfyUI calls before it loads a model that needs the room.
    management.free_memory(1e30, graph.model.load_device)
    assert not any(loaded())
    assert difference(graph.film(), film) == 0.0
    assert all(loaded())
    management.unload_all_models()
    assert not management.current_loaded_models
