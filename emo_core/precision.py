"""Number formats that a device computes by itself, and those that it only imitates."""

from __future__ import annotations

import logging

import torch

logger = logging.getLogger(__name__)


def is_half_slow(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a format of 16 bits is slower than float32 there.

    Without AVX-512 oneDNN has no kernels for either: on a processor with AVX2 a convolution took 45
    times as long in bfloat16 as in float32, and 49 times in float16. With AVX-512 it has some for
    bfloat16.
    """
    if device.type != "cpu" or dtype not in (torch.bfloat16, torch.float16):
        return False
    has_avx512 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return not (has_avx512 and dtype == torch.bfloat16)


def warn_of_slow_half(dtype: torch.dtype, device: torch.device) -> None:
    """Say so where a format that somebody chose will cost far more time than it saves memory."""
    if is_half_slow(dtype, device):
        logger.warning(
            "%s on this processor is many times slower than float32; choose float32 unless memory "
            "does not suffice.",
            str(dtype).removeprefix("torch."),
        )
