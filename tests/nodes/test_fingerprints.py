"""By what kept clips are known: all that shapes them, and nothing that a run leaves behind."""

import dataclasses

import pytest
import torch
from graph import Graph, make_graph
from tiny import tiny_config

from emo_core.checkpoints.emo import build_networks, save_emo
from emo_core.config import WindowsConfig


@pytest.fixture(scope="module")
def graph(pack, toy) -> Graph:
    return make_graph(pack, toy)


def told(graph: Graph, model) -> str:
    """By what a MODEL's clips are known."""
    from emo_pack.nodes.fingerprints import sampling_fingerprint

    return sampling_fingerprint(model, graph.reference, how=[]).text()


def told_apart(graph: Graph, *models) -> int:
    """Number of MODELs whose clips are not taken for each other's."""
    return len({told(graph, model) for model in models})


def test_wrappers_round_the_sampling_are_seen(graph):
    """They are no options of the model."""
    from comfy_extras.nodes_custom_sampler import CFGOverride

    override = [CFGOverride.execute(graph.model, cfg, 0.0, 1.0).args[0] for cfg in (3.0, 4.0, 4.0)]
    assert told_apart(graph, graph.model, *override) == 3


def test_classes_of_one_name_are_told_apart_by_their_parents(graph):
    """What ModelSamplingDiscrete makes differs in nothing else."""
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

    kinds = ("v_prediction", "eps", "x0", "x0")
    models = [ModelSamplingDiscrete().patch(graph.model, kind, False)[0] for kind in kinds]
    assert told_apart(graph, *models) == 3


def test_a_run_leaves_the_model_the_same(graph, pack, toy, tmp_path):
    """A context handler notes its step, a LoRA that bypasses the weights sits in the layers."""
    import comfy.sd
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    config = dataclasses.replace(
        tiny_config(),
        sampling=dataclasses.replace(tiny_config().sampling, windows=WindowsConfig(overlap=1)),
    )
    torch.manual_seed(0)
    save_emo(build_networks(config), tmp_path / "windows.safetensors", dtype=torch.float32)
    windows = make_graph(pack, dataclasses.replace(toy, model=tmp_path / "windows.safetensors"))
    before = told(windows, windows.model)
    windows.film()
    assert windows.model.model_options["context_handler"]._step > 0
    assert told(windows, windows.model) == before

    settings = ("standard_static", 1, False, "flat", 0, False)
    manual = ContextWindowsManualNode.execute(
        graph.model, 4, 1, *settings, causal_window_fix=False
    ).args[0]
    key = next(k for k in graph.model.model.diffusion_model.state_dict() if "attn1.to_q" in k)
    width, _ = graph.model.model.diffusion_model.state_dict()[key].shape
    name = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
    lora = {
        f"{name}.lora_down.weight": torch.full((2, width), 0.1),
        f"{name}.lora_up.weight": torch.full((width, 2), 0.1),
    }
    bypassing, _ = comfy.sd.load_bypass_lora_for_models(graph.model, None, lora, 1.0, 0.0)
    assert bypassing.injections
    assert told_apart(graph, graph.model, manual, bypassing) == 3
    before = [told(graph, model) for model in (manual, bypassing)]
    for model in (manual, bypassing):
        graph.film(model=model)
    assert [told(graph, model) for model in (manual, bypassing)] == before
    weaker, _ = comfy.sd.load_bypass_lora_for_models(graph.model, None, lora, 0.5, 0.0)
    assert told(graph, weaker) != before[1]


def test_the_net_that_reads_the_reference_counts(graph, pack, toy, tmp_path):
    """Wired from another checkpoint of the same shapes."""
    torch.manual_seed(1)
    save_emo(build_networks(tiny_config()), tmp_path / "other.safetensors", dtype=torch.float32)
    other = make_graph(pack, dataclasses.replace(toy, model=tmp_path / "other.safetensors"))
    mixed = dataclasses.replace(graph, reference=other.reference)
    assert told(mixed, graph.model) != told(graph, graph.model)
    half = make_graph(pack, toy, dtype="fp16")
    mixed = dataclasses.replace(graph, reference=half.reference)
    assert told(mixed, graph.model) != told(graph, graph.model)


def with_patch(graph: Graph, patch):
    model = graph.model.clone()
    model.set_model_sampler_post_cfg_function(patch)
    return model


def test_modules_are_told_apart_by_what_they_keep_beside_their_tensors(graph):
    def scaled(scale: float) -> torch.nn.Module:
        module = torch.nn.Sequential(torch.nn.Identity())
        module[0].scale = scale
        return module

    models = [with_patch(graph, scaled(scale)) for scale in (0.5, 0.6, 0.6)]
    assert told_apart(graph, *models) == 2


def test_a_compiled_model_is_the_same_every_time(graph):
    """The wrapper that compiles holds the whole network."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    models = [graph.model.clone(disable_dynamic=True) for _ in range(2)]
    for model in models:
        set_torch_compile_wrapper(model=model, backend="eager")
    assert told_apart(graph, *models) == 1


def test_a_patch_round_a_variable_without_a_value_does_not_cost_the_film(graph):
    def patch(is_set: bool = False):
        def unchanged(args: dict) -> torch.Tensor:
            return args["denoised"] if args else unset

        if is_set:
            unset = 1
        return unchanged

    assert told_apart(graph, with_patch(graph, patch()), with_patch(graph, patch(True))) == 2
