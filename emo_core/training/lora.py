"""A LoRA made from the checkpoint itself: the voice's hold on the face, made stronger.

It is the demo of LoRA files in the pack. The audio-attention's value projections W become
W + s (gain W), with gain W cut to its largest singular values; at strength s = 1 with a gain of
0.6 the mouth follows the voice about 1.6 times as strongly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..models.backbone import Backbone

NAME_PREFIX = "lora_unet_"
"""Of kohya's files for Stable Diffusion 1.5, which ComfyUI maps to a model's own keys."""


def amplifying_lora(backbone: Backbone, *, gain: float, rank: int) -> dict[str, Tensor]:
    """Return the tensors of a LoRA file in kohya's names, float16."""
    tensors: dict[str, Tensor] = {}
    for key, weight in backbone.state_dict().items():
        if not key.endswith("attn2.to_v.weight"):
            continue
        left, values, right = torch.linalg.svd(gain * weight.float(), full_matrices=False)
        root = values[:rank].sqrt()
        name = NAME_PREFIX + key.removesuffix(".weight").replace(".", "_")
        tensors[f"{name}.lora_up.weight"] = (left[:, :rank] * root).half().contiguous()
        tensors[f"{name}.lora_down.weight"] = (root[:, None] * right[:rank]).half().contiguous()
        tensors[f"{name}.alpha"] = torch.tensor(float(rank)).half()
    return tensors
