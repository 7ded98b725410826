"""Sound that lies on the disk: what is made of it is the same, and stays there too."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from emo_core.audio import encoder as encoder_module
from emo_core.audio import waveform as waveform_module
from emo_core.audio.encoder import NormalizedSound, normalized
from emo_core.audio.gate import gate
from emo_core.audio.waveform import Waveform, resample
from emo_core.files.on_disk import TensorOnDisk

ROOT = Path(__file__).resolve().parents[3]

MADE_OF_IT = {
    "mono": lambda sound: resample(sound, sample_rate_hz=44100, is_mixed=True),
    "slower": lambda sound: resample(sound, sample_rate_hz=16000),
    "slower mono": lambda sound: resample(sound, sample_rate_hz=16000, is_mixed=True),
    "odd": lambda sound: resample(sound, sample_rate_hz=11127),
    "gated": lambda sound: gate(sound, threshold_db=-20.0),
}


def on_disk(samples_CN: torch.Tensor, rate: int, folder: Path) -> Waveform:
    file = TensorOnDisk(folder, row_shape=samples_CN.shape[:1])
    file.append(samples_CN.T)
    return Waveform(file.tensor().T, rate, file)


@pytest.mark.parametrize("name", MADE_OF_IT)
def test_what_is_made_of_it_is_the_same_and_lies_there_too(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waveform_module, "STRETCH_SAMPLES", 20000)
    samples = 0.2 * torch.randn(2, 70001, generator=torch.Generator().manual_seed(0))
    from_memory = MADE_OF_IT[name](Waveform(samples, 44100))
    from_disk = MADE_OF_IT[name](on_disk(samples, 44100, tmp_path))
    assert from_memory.file is None and from_disk.file is not None
    assert torch.equal(from_disk.samples, from_memory.samples)
    assert from_disk.sample_rate_hz == from_memory.sample_rate_hz


def test_mono_that_has_the_rate_is_not_copied() -> None:
    samples = torch.randn(1, 100)
    mono = resample(Waveform(samples, 16000), sample_rate_hz=16000, is_mixed=True)
    assert mono.samples.data_ptr() == samples.data_ptr()


def test_it_is_normalised_where_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "STRETCH_SAMPLES", 1000)
    sound = torch.randn(3456).cumsum(0) + 5.0
    calls: list[int] = []
    heard = NormalizedSound(sound, on_stretch=lambda: calls.append(1))
    assert len(calls) == 3, "between the four pieces"
    wanted = (sound.numpy() - np.mean(sound.numpy(), dtype=np.float64)) / np.std(
        sound.numpy(), dtype=np.float64
    )
    np.testing.assert_allclose(normalized(sound).numpy(), wanted, atol=1e-5)
    np.testing.assert_allclose(heard.part(900, 2100).numpy(), wanted[900:2100], atol=1e-5)
    behind = heard.part(3400, 3500)
    np.testing.assert_allclose(behind[:56].numpy(), wanted[3400:], atol=1e-5)
    assert behind.shape == (100,) and not behind[56:].any()


def test_what_comes_later_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "STRETCH_SAMPLES", 300)
    sound = torch.randn(3456).cumsum(0) + 5.0
    heard = NormalizedSound(sound, is_causal=True)
    for first, last in ((0, 1000), (900, 2100), (2000, 3500)):
        before = sound[:last].double()
        wanted = (before[first:] - before.mean()) / before.std(correction=0)
        part = heard.part(first, last)
        np.testing.assert_allclose(part[: len(wanted)].numpy(), wanted.numpy(), atol=1e-5)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux' /proc")
def test_ten_minutes_take_the_memory_of_one(tmp_path: Path) -> None:
    """Checked, gated, mixed, resampled and encoded; ten minutes are 230 MB of samples."""
    program = """
import sys; sys.path[:0] = sys.argv[1:3]
from pathlib import Path
import torch
from emo_core.audio.front_end import FrontEnd
from emo_core.audio.gate import gate
from emo_core.audio.rows import encode_rows
from emo_core.audio.waveform import Waveform, check_waveform, resample
from emo_core.files.on_disk import TensorOnDisk
from tiny import tiny_config

def peak_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

def encode(seconds):
    file = TensorOnDisk(Path(sys.argv[3]), row_shape=(2,))
    for _ in range(seconds):
        file.append(0.1 * torch.randn(48000, 2))
    sound = Waveform(file.tensor().T, 48000, file)
    check_waveform(sound, name="noise")
    mono = resample(gate(sound), sample_rate_hz=16000, is_mixed=True)
    rows = encode_rows(
        front_end, mono.samples[0], config.backbone.audio,
        fps=25.0, num_frames=25 * seconds, clip_frames=4, on_stretch=mono.release,
    )
    assert len(rows) == 25 * seconds and rows.abs().sum() > 0

config = tiny_config()
front_end = FrontEnd(config.front_end).eval()
torch.set_num_threads(1)
encode(75)
before = peak_mb()
encode(600)
print(peak_mb() - before)
assert peak_mb() - before < 20
"""
    paths = [str(ROOT), str(ROOT / "tests" / "emo_core"), str(tmp_path)]
    # glibc then returns what is freed, so that the peak is what is held.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    subprocess.run([sys.executable, "-c", program, *paths], env=environment, check=True)
