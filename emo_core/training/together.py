"""Several processes that learn as one: each draws batches of its own, all take the same step.

The demo's networks are too small for a processor's threads to share out one step: on two cores two
processes of one thread each read nearly twice as many clips in the same time as one process of two
threads. They are started by

    ACCELERATE_USE_CPU=1 OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m emo_core train ...

Source: data parallelism as in PyTorch's DistributedDataParallel. That wraps the forward of one
module; the tasks here call parts of several networks, so gradients are averaged behind the
backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn


@torch.no_grad()
def begin_alike(parameters: Sequence[nn.Parameter], accelerator: Accelerator) -> None:
    """Give every process the first one's weights, some of which began by chance."""
    if accelerator.num_processes > 1:
        values = broadcast(_flat(parameters), from_process=0)
        for parameter, value in _parts(values, parameters):
            parameter.copy_(value)


@torch.no_grad()
def average_gradients(parameters: Sequence[nn.Parameter], accelerator: Accelerator) -> None:
    """Put the mean of all processes' gradients in the place of each one's own.

    A parameter that one of them did not use has a gradient of zeros there.
    """
    if accelerator.num_processes > 1:
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters]
        means = accelerator.reduce(_flat(gradients), reduction="mean")
        for gradient, mean in _parts(means, gradients):
            gradient.copy_(mean)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def _parts(flat: Tensor, tensors: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Each tensor and its part of what `_flat` made of all, in its shape."""
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [(t, part.view(t.shape)) for t, part in zip(tensors, parts, strict=True)]
