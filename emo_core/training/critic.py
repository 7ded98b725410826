"""A critic: a small network that tells pictures of the data from made ones, and so teaches detail.

A squared or absolute error is smallest for the mean of all that could be true, which is blurred;
the critic asks that what is made looks like one of them. Critic and maker learn in one backward
pass: `hinge_losses` lets the gradient of each half reach only the network that it is for.

Source: hinge losses and spectral norm (Miyato et al., arXiv 1802.05957), patches (Isola et al.,
arXiv 1611.07004).

Letters: N images, C channels, H and W rows and columns, h and w those of patches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import adaptive_avg_pool2d
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2


class Critic(nn.Module):
    """Images (N, C, H, W) -> one judgement per patch (N, 1, h, w); more is more like the data.

    Args:
        in_channels: C.
        widths: of the hidden layers.
        strides: of the hidden layers, as many.
    """

    def __init__(
        self, in_channels: int, *, widths: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = in_channels
        for width, stride in zip(widths, strides, strict=True):
            conv = nn.Conv2d(before, width, 3, stride=stride, padding=1)
            layers += [spectral_norm(conv), nn.LeakyReLU(SLOPE)]
            before = width
        layers.append(spectral_norm(nn.Conv2d(before, 1, 3, padding=1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.layers(images_NCHW)


def hinge_losses(
    critic: Critic, true: Tensor, made: Tensor, weight_N1HW: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return what the critic minimises and what the maker of `made` minimises.

    The first reaches only the critic's weights, the second only `made`.

    Args:
        true, made: (N, C, H, W).
        weight_N1HW: how much each place counts; None counts all alike.
    """
    resting = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    of_true, of_made = critic(true), critic(made.detach())
    of_maker = -functional_call(critic, resting, (made,))
    weight_N1hw = torch.ones_like(of_maker)
    if weight_N1HW is not None:
        weight_N1hw = adaptive_avg_pool2d(weight_N1HW, of_maker.shape[-2:])
    weight_N1hw = weight_N1hw / weight_N1hw.mean()
    of_critic = (1.0 - of_true).relu() + (1.0 + of_made).relu()
    return (weight_N1hw * of_critic).mean(), (weight_N1hw * of_maker).mean()
