"""LoRA: a change of a network's layers as products of two thin matrices, in kohya's file format.

While it is learned, an adapter sits on a layer as a parametrization of its weight: the layer
computes with W + up down, and its forward is not touched. `amplifying_lora` is one that is made
from the checkpoint itself and learns nothing.

Source: Hu et al., arXiv 2106.09685; names and shapes of kohya's files for Stable Diffusion 1.5.

Letters: O outputs, I inputs times the kernel's area, r rank.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..models.backbone import Backbone

NAME_PREFIX = "lora_unet_"
"""Of kohya's files for Stable Diffusion 1.5, which ComfyUI maps to a model's own keys."""


class Adapter(nn.Module):
    """Adds a product of two thin matrices to a layer's weight; at first it adds nothing."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = weight.flatten(1).shape
        rank = min(rank, outputs, inputs)
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))
        self.down = nn.Parameter(torch.randn_like(weight.flatten(1)[:1].expand(rank, -1)))
        with torch.no_grad():
            self.down.div_(inputs**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


def adapted_twin(network: nn.Module, *, rank: int) -> nn.Module:
    """Return a network with an adapter on every linear layer and convolution.

    It shares its other parameters, and so their memory, with the one that was given.
    """
    twin = copy.deepcopy(network, memo={id(p): p for p in network.parameters()})
    for layer in list(twin.modules()):
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            parametrize.register_parametrization(layer, "weight", Adapter(layer.weight, rank))
    return twin


def adapters(twin: nn.Module) -> Iterator[tuple[str, Adapter]]:
    """Every adapter, under the key of the weight that it changes."""
    for name, module in twin.named_modules():
        if isinstance(module, Adapter):
            yield name.removesuffix(".parametrizations.weight.0") + ".weight", module


@torch.no_grad()
def merged(network: nn.Module, twin: nn.Module) -> nn.Module:
    """Return a network of its own, whose weights are those that the twin computes with."""
    copied = copy.deepcopy(network)
    state = copied.state_dict()
    for key, adapter in adapters(twin):
        state[key].copy_(adapter(state[key]))
    return copied


def lora_tensors(
    factors: Mapping[str, tuple[Tensor, Tensor]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Return the tensors of a LoRA file in kohya's names, float16.

    Args:
        factors: key of a weight, such as `conv_in.weight` -> up (O, r) and down (r, I).
        shapes: key of a weight -> its shape.
    """
    tensors: dict[str, Tensor] = {}
    for key, (up, down) in factors.items():
        rank, (_, *of_input) = len(down), shapes[key]
        name = NAME_PREFIX + key.removesuffix(".weight").replace(".", "_")
        kernel = (1,) * len(of_input[1:])
        tensors[f"{name}.lora_up.weight"] = up.detach().reshape(-1, rank, *kernel)
        tensors[f"{name}.lora_down.weight"] = down.detach().reshape(rank, *of_input)
        tensors[f"{name}.alpha"] = torch.tensor(float(rank))
    return {name: value.half().cpu().contiguous() for name, value in tensors.items()}


def adapter_lora(twin: nn.Module) -> dict[str, Tensor]:
    """Return what the adapters of a twin have learned as the tensors of a LoRA file."""
    found = dict(adapters(twin))
    weights = {key: twin.get_submodule(key.removesuffix(".weight")).weight for key in found}
    return lora_tensors(
        {key: (adapter.up, adapter.down) for key, adapter in found.items()},
        {key: tuple(weight.shape) for key, weight in weights.items()},
    )


def amplifying_lora(backbone: Backbone, *, gain: float, rank: int) -> dict[str, Tensor]:
    """Return a LoRA that makes the voice's hold on the face stronger.

    The audio-attention's value projections W become W + s (gain W), with gain W cut to its largest
    singular values; at strength s = 1 with a gain of 0.6 the mouth follows the voice about 1.6
    times as strongly.
    """
    weights = {
        key: weight
        for key, weight in backbone.state_dict().items()
        if key.endswith("attn2.to_v.weight")
    }
    factors = {}
    for key, weight in weights.items():
        left, values, right = torch.linalg.svd(gain * weight.float(), full_matrices=False)
        root = values[:rank].sqrt()
        factors[key] = (left[:, :rank] * root, root[:, None] * right[:rank])
    return lora_tensors(factors, {key: tuple(weight.shape) for key, weight in weights.items()})
