"""Number formats that a device computes by itself, and those that it only imitates."""

from __future__ import annotations

import logging

import torch

logger = logging.getLogger(__name__)


def is_half_slow(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a format of 16 bits is slower than float32 there.

    Processors without AVX-512 imitate both formats: convolutions in bfloat16 took 40 times as long
    as in float32 on one with AVX2 only. With AVX-512, bfloat16 is at least not slower.
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
