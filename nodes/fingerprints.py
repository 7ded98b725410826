"""What shapes a clip in ComfyUI, as a fingerprint: weights, LoRAs, patches, sampler, schedule.

Anything may be patched onto a MODEL. What cannot be seen through is refused, so that a clip is made
again rather than taken for another one.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from functools import partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType

import comfy.model_management
import comfyui_version
import torch
from comfy.context_windows import ContextHandlerABC
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter.bypass import BypassForwardHook
from torch import Tensor, nn

from ..emo_core.checkpoints.families import open_checkpoint
from ..emo_core.store.fingerprint import Fingerprint, tensors_fingerprint
from .types import Reference

PLAIN_KINDS = (torch.dtype, torch.device, enum.Enum, bytes, type, ModuleType)
WHOLE_VALUES = 1 << 16
"""Larger tensors of patches are read in places, as weights are."""
EMPTY_CELL = CellType()
"""Of a function that reads a variable which has no value any more."""
OF_MODULES = vars(nn.Module()).keys()
"""Tensors, parts and bookkeeping, which every module has."""
LEFT_BY_RUNS = {
    ContextHandlerABC: {"_step", "_model"},
    BypassForwardHook: {"module", "original_forward"},
}
"""What objects of ComfyUI keep of the run at hand or the one before, so that they are others after
it. Which module a hook belongs to is told by the keys of what made it."""


def sampling_fingerprint(
    patcher: ModelPatcher, reference: Reference, *, how: list[object]
) -> Fingerprint:
    """Of everything but the film and what a clip starts from.

    Args:
        how: sampler, schedule and the like.

    Raises:
        TypeError: something cannot be seen through; says what.
    """
    if patcher.cached_patcher_init is None:
        raise TypeError("the MODEL does not say which file it comes from")
    _, (path, *_) = patcher.cached_patcher_init
    checkpoint, net = open_checkpoint(path), reference.net
    fingerprint = Fingerprint()
    fingerprint.add("program", f"torch {torch.__version__}, ComfyUI {comfyui_version.__version__}")
    device = comfy.model_management.get_torch_device_name(patcher.load_device)
    computed = f"{patcher.model_dtype()} in {patcher.model.get_dtype_inference()} on {device}"
    fingerprint.add("computed", computed)
    fingerprint.add("backbone", tensors_fingerprint(checkpoint.views("backbone")))
    read_by = checkpoint if net.path == checkpoint.path else open_checkpoint(net.path)
    fingerprint.add("reference_net", tensors_fingerprint(read_by.views("reference_net")))
    fingerprint.add("read in", f"{net.weight_dtype}, {net.patcher.model.compute_dtype}")
    if checkpoint.config.sampling.motion.is_decoded:
        fingerprint.add("vae", tensors_fingerprint(reference.vae.first_stage_model.state_dict()))
    for name, value in (
        ("patches", patcher.patches),
        ("object patches", patcher.object_patches),
        ("options", patcher.model_options),
        ("wrappers", patcher.wrappers),
        ("callbacks", patcher.callbacks),
        ("weight wrappers", patcher.weight_wrapper_patches),
        ("hooks", patcher.hook_patches),
        ("injections", patcher.injections),
        ("additional models", patcher.additional_models),
        ("how", how),
    ):
        fingerprint.add(name, _Seen(patcher).plain(value, name))
    return fingerprint


class _Seen:
    """Turns values into what a `Fingerprint` takes."""

    def __init__(self, patcher: ModelPatcher) -> None:
        networks = {"model": patcher.model, "diffusion_model": patcher.model.diffusion_model}
        self.own = {
            id(network): name
            for name, network in networks.items()
            if name not in patcher.object_patches
        }
        """Networks that are patched in place: their files and patches stand for them."""
        self.path: list[int] = []
        """Of the objects that lie round the one at hand; some hold each other."""

    def plain(self, value: object, name: str) -> object:
        """Return the value in plain kinds.

        Raises:
            TypeError: it cannot be seen through; names where it lies.
        """
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if id(value) in self.path:
            return f"round {len(self.path) - self.path.index(id(value))}"
        self.path.append(id(value))
        try:
            return self._of_object(value, name)
        finally:
            self.path.pop()

    def _of_object(self, value: object, name: str) -> object:
        if isinstance(value, Tensor):
            is_small = value.numel() <= WHOLE_VALUES
            return value if is_small else tensors_fingerprint({"": value})
        if isinstance(value, (list, tuple)):
            return [self.plain(part, f"{name}[{place}]") for place, part in enumerate(value)]
        if isinstance(value, (set, frozenset)):
            return sorted(str(self.plain(part, name)) for part in value)
        if isinstance(value, Mapping):
            plain_keys = {key: str(self.plain(key, name)) for key in value}
            return {plain_keys[key]: self.plain(value[key], f"{name}.{key}") for key in value}
        if value is ... or isinstance(value, PLAIN_KINDS):
            return repr(value)
        if isinstance(value, partial):
            return self.plain([value.func, value.args, value.keywords], name)
        if isinstance(value, MethodType):
            return self.plain([value.__func__, value.__self__], name)
        if isinstance(value, FunctionType):
            closure = value.__closure__ or ()
            cells = [[cell.cell_contents] if cell != EMPTY_CELL else [] for cell in closure]
            parts = [value.__code__, value.__defaults__, value.__kwdefaults__, cells]
            return [value.__module__, value.__qualname__, self.plain(parts, value.__qualname__)]
        if isinstance(value, CodeType):
            consts = self.plain(list(value.co_consts), name)
            return [value.co_code.hex(), list(value.co_names), consts]
        if isinstance(value, nn.Module):
            return self._of_module(value, name)
        if hasattr(value, "__dict__") and not isinstance(value, BuiltinFunctionType):
            kinds = _kinds(value)
            kept = dict(vars(value))
            for kind, names in LEFT_BY_RUNS.items():
                if isinstance(value, kind):
                    kept = {name: part for name, part in kept.items() if name not in names}
            return [kinds, self.plain(kept, kinds[0])]
        raise TypeError(f"{name}: a {type(value).__name__} cannot be seen through")

    def _of_module(self, module: nn.Module, name: str) -> object:
        """Kinds, tensors, and what each part keeps beside them, such as a scale."""
        if id(module) in self.own:
            return self.own[id(module)]
        if hasattr(module, "_orig_mod"):  # What torch.compile made of another.
            return ["compiled", self.plain(module._orig_mod, name)]
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        parts = {
            path: [_kinds(part), {key: vars(part)[key] for key in vars(part).keys() - OF_MODULES}]
            for path, part in module.named_modules()
        }
        return [tensors_fingerprint(tensors), self.plain(parts, f"{name} ({_kinds(module)[0]})")]


def _kinds(value: object) -> list[str]:
    """Its class and what that inherits: classes that nodes make as they run often share a name."""
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in type(value).__mro__]
