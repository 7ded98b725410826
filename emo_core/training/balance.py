"""How strongly losses pull beside each other.

Source: gradients of one length in the last layer (Esser et al., arXiv 2012.09841, section 3.1).
There a batch's own lengths are compared, here running means are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

LARGEST_BALANCE = 1e4
STEADY = 1e-6
"""Keeps the balance finite where a gradient vanishes."""
MEMORY = 0.9
"""How much of running means stays from one batch to the next."""
BLIND_LOSS = 2.0
"""Hinge loss of a critic that judges true and made alike."""
SEEING = 0.1
"""How far below it a critic's loss has to be for its pull to count fully."""


def balance(of_main: Tensor, of_other: Tensor) -> Tensor:
    """Return the factor on a loss that makes its gradient as long as the main's.

    Args:
        of_main, of_other: of `gradient_length`.
    """
    return (of_main / (of_other + STEADY)).clamp(max=LARGEST_BALANCE)


def gradient_length(loss: Tensor, last_weight: Tensor) -> Tensor:
    """Length of a loss' gradient in the weight of the maker's last layer."""
    return torch.autograd.grad(loss, last_weight, retain_graph=True)[0].norm().detach()


class UsualLengths:
    """Running means of how long the gradients of losses are.

    Means of lengths and not of their ratios: a batch that asks next to nothing of a loss would be
    a ratio's undoing.

    Args:
        main: the loss whose gradient the others' are made as long as.
    """

    def __init__(self, main: str) -> None:
        self.main = main
        self.lengths: dict[str, Tensor] = {}

    def measure(self, losses: Mapping[str, Tensor], last_weight: Tensor) -> None:
        """Take in a batch's; vanished gradients are left out."""
        for name, loss in losses.items():
            new = gradient_length(loss, last_weight)
            if new > 0:
                usual = self.lengths.get(name, new)
                self.lengths[name] = MEMORY * usual + (1.0 - MEMORY) * new

    def factor(self, name: str) -> Tensor | float:
        """Return what makes a loss' usual gradient as long as the main's; 0 before both were
        measured."""
        if name not in self.lengths or self.main not in self.lengths:
            return 0.0
        return balance(self.lengths[self.main], self.lengths[name])


class Sight:
    """How well a critic tells true from made: a running mean of its hinge loss.

    The pull of a blind critic is noise, which the maker follows faster than such a critic learns.
    """

    def __init__(self) -> None:
        self.usual_loss = BLIND_LOSS

    def after(self, of_critic: Tensor) -> float:
        """Take in a batch's loss and return the sight, from 0 to 1."""
        self.usual_loss = MEMORY * self.usual_loss + (1.0 - MEMORY) * float(of_critic.detach())
        return min(max((BLIND_LOSS - self.usual_loss) / SEEING, 0.0), 1.0)
