"""Writing a film with a long sound takes the memory of one with a short sound."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

PROGRAM = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
import torch
from emo_core.audio.waveform import Waveform
from emo_core.files.on_disk import TensorOnDisk
from emo_core.video.writer import Mp4Writer

def peak_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

def write(seconds):
    folder, rate = Path(sys.argv[2]), int(sys.argv[3])
    file = TensorOnDisk(folder, row_shape=(2,))
    tone = 0.1 * torch.sin(torch.arange(rate) / 20).repeat(2, 1).T
    for _ in range(seconds):
        file.append(tone)
    with Mp4Writer(
        folder / "film.mp4", fps=5, width=32, height=32, num_frames=5 * seconds,
        sound=Waveform(file.tensor().T, rate, file),
    ) as writer:
        for _ in range(5 * seconds):
            writer.write(torch.zeros(1, 32, 32, 3))

write(20)
before = peak_mb()
write(120)
print(peak_mb() - before)
assert peak_mb() - before < 30
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux' /proc")
@pytest.mark.parametrize("rate", [48000, 50000])
def test_two_minutes_take_the_memory_of_twenty_seconds(rate: int, tmp_path: Path) -> None:
    """Of a sound that lies on the disk, 46 MB; AAC has no 50 kHz, so that one is resampled."""
    # glibc then returns what is freed, so that the peak is what is held.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    call = [sys.executable, "-c", PROGRAM, str(ROOT), str(tmp_path), str(rate)]
    subprocess.run(call, env=environment, check=True)
