"""Slow number formats are known, and a choice of one is answered with a warning."""

import logging

import pytest
import torch

from emo_core.precision import is_half_slow, warn_of_slow_half

CPU, GPU = torch.device("cpu"), torch.device("meta")


@pytest.fixture(params=["AVX2", "DEFAULT", "AVX512", "AVX512_VNNI"])
def capability(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    return request.param


def test_processors_without_avx512_imitate_both_halves(capability: str) -> None:
    assert is_half_slow(torch.bfloat16, CPU) == (not capability.startswith("AVX512"))
    assert is_half_slow(torch.float16, CPU)
    assert not is_half_slow(torch.float32, CPU)
    assert not is_half_slow(torch.bfloat16, GPU)


def test_a_slow_choice_is_warned_of(capability: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_slow_half(torch.float32, CPU)
        warn_of_slow_half(torch.float16, GPU)
        assert not caplog.records
        warn_of_slow_half(torch.float16, CPU)
    assert "float16 on this processor" in caplog.text
