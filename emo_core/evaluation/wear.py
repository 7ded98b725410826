"""Make clean drawings look as if a model had made them: soft, noisy, off in colour.

The reader learns from worn pictures and its errors are stated on them too, since what it will
read comes out of a diffusion model and a VAE.

Letters: N pictures, S rows and columns, T taps of a blur.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BLUR_SHARE = 0.7
GREATEST_BLUR = 0.017
"""Standard deviation in fractions of the picture side: 2.2 pixels of 128."""
SMALL_SHARE = 0.15
"""Share of pictures that were half as large at some time."""
GREATEST_NOISE = 0.06
GREATEST_BLOTCH = 0.06
GAIN = 0.15
OFFSET = 0.06
BLUR_MARGIN = 4


def wear(pictures_N3SS: Tensor, generator: torch.Generator) -> Tensor:
    """Return worn pictures of 0..1, each worn in its own measure."""
    worn = _blurred(pictures_N3SS, generator)
    is_small = torch.rand(len(worn), generator=generator) < SMALL_SHARE
    if is_small.any():
        side = worn.shape[-1]
        small = functional.interpolate(worn[is_small], scale_factor=0.5, mode="area")
        worn[is_small] = functional.interpolate(
            small, size=(side, side), mode="bilinear", align_corners=False
        )
    count = (len(worn), 1, 1, 1)
    channels = (len(worn), 3, 1, 1)
    gain = 1.0 + GAIN * (2.0 * torch.rand(channels, generator=generator) - 1.0)
    offset = OFFSET * (2.0 * torch.rand(channels, generator=generator) - 1.0)
    noise = torch.randn(worn.shape, generator=generator)
    noise = noise * GREATEST_NOISE * torch.rand(count, generator=generator) ** 2
    blotches = functional.interpolate(
        torch.randn(len(worn), 3, 7, 7, generator=generator),
        size=worn.shape[2:],
        mode="bilinear",
        align_corners=False,
    )
    blotches = blotches * GREATEST_BLOTCH * torch.rand(count, generator=generator) ** 2
    return (worn * gain + offset + noise + blotches).clamp(0.0, 1.0)


def _blurred(pictures_N3SS: Tensor, generator: torch.Generator) -> Tensor:
    """Blur each picture by its own Gaussian, some not at all."""
    num_pictures, _, side, _ = pictures_N3SS.shape
    deviation_N = GREATEST_BLUR * side * torch.rand(num_pictures, generator=generator)
    is_blurred = torch.rand(num_pictures, generator=generator) < BLUR_SHARE
    deviation_N = (deviation_N * is_blurred).clamp(min=0.05)
    tap_T = torch.arange(-BLUR_MARGIN, BLUR_MARGIN + 1)
    weights_NT = torch.exp(-0.5 * (tap_T / deviation_N[:, None]) ** 2)
    weights_NT = weights_NT / weights_NT.sum(dim=1, keepdim=True)
    kernels = weights_NT.repeat_interleave(3, dim=0)
    rows = pictures_N3SS.reshape(1, num_pictures * 3, side, side)
    rows = functional.pad(rows, (BLUR_MARGIN,) * 4, mode="replicate")
    rows = functional.conv2d(rows, kernels[:, None, :, None], groups=num_pictures * 3)
    rows = functional.conv2d(rows, kernels[:, None, None, :], groups=num_pictures * 3)
    return rows.reshape(pictures_N3SS.shape)
