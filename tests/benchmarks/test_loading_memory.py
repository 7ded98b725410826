"""What opening and converting a file of Hallo's size costs (`make bench`).

A pickle of 9.7 GB in float32 is converted to float16 in a process of its own, whose memory must not
rise above the converted weights and a tenth; likewise a safetensors file. The seconds printed are
of whole loads, the three files in turn, each read from the disk and not from the system's cache.
Needs 25 GB of disk under pytest's temporary folder, 6 GB of memory and Linux.
"""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from emo_core.files.read import read_tensors
from emo_core.files.write import TensorSpec, write_safetensors

ROOT = Path(__file__).resolve().parents[2]
NUM_ELEMENTS = 2_424_802_964
"""Of Hallo's net.pth, which has 2,656 tensors."""
SHAPES = [
    *[(1280, 2560, 3, 3), (1280,), (1280, 1280, 3, 3), (1280,), (10240, 1280), (10240,)],
    *[(640, 1920, 3, 3), (640,), (320, 640, 3, 3), (320,), (1280, 1280), (1280, 768)],
    *[(1280,)] * 68,
]
"""What `shapes` repeats: Stable Diffusion's largest, and small ones up to the same number."""
ROUNDS = 2

MEASURE = """
import json, sys, time
from pathlib import Path
import torch
from emo_core.files.read import read_tensors

def status():
    rows = (line.split() for line in open("/proc/self/status"))
    return {row[0]: int(row[1]) * 1024 for row in rows if row[0] in ("VmHWM:", "RssFile:")}

torch.zeros(1000, dtype=torch.float32).half()
begin = status()
start = time.perf_counter()
file = read_tensors(Path(sys.argv[1]))
opened_s = time.perf_counter() - start
opened_bytes = status()["RssFile:"] - begin["RssFile:"]
state, most_mapped = {}, 0
for name, tensor in file.stream(file.tensors, dtype=torch.float16):
    state[name] = tensor
    most_mapped = max(most_mapped, status()["RssFile:"])
print(json.dumps({
    "target": sum(tensor.nbytes for tensor in state.values()),
    "baseline": begin["VmHWM:"],
    "peak": status()["VmHWM:"],
    "mapped": most_mapped - begin["RssFile:"],
    "opened_s": opened_s,
    "opened_bytes": opened_bytes,
    "seconds": time.perf_counter() - start,
}))
"""


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of as many elements as Hallo has."""
    left = NUM_ELEMENTS
    for index, shape in enumerate(itertools.cycle(SHAPES)):
        shape = shape if torch.Size(shape).numel() <= left else (left,)
        left -= torch.Size(shape).numel()
        yield f"denoising_unet.blocks.{index}.weight", shape
        if not left:
            return


def measured(path: Path) -> dict[str, float]:
    """Load a file in a fresh process, with nothing of it in the system's cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return json.loads(done.stdout)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """The same weights as float32 pickle, float32 safetensors and float16 safetensors."""
    paths = {
        "pickle float32": tmp_path / "net.pth",
        "safetensors float32": tmp_path / "net.safetensors",
        "safetensors float16": tmp_path / "net_half.safetensors",
    }
    # Memory that nothing has written takes no room: the whole file is made without holding it.
    torch.save({name: torch.empty(shape) for name, shape in shapes()}, paths["pickle float32"])
    original = read_tensors(paths["pickle float32"])
    for name, dtype in (
        ("safetensors float32", torch.float32),
        ("safetensors float16", torch.float16),
    ):
        write_safetensors(
            paths[name],
            original.stream(original.tensors, dtype=dtype),
            specs={key: TensorSpec(shape, dtype) for key, shape in shapes()},
            metadata={"format": "pt"},
        )
    yield paths
    for path in paths.values():
        path.unlink(missing_ok=True)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_conversion_takes_the_memory_of_its_result(files: dict[str, Path]) -> None:
    results: dict[str, list[dict[str, float]]] = {name: [] for name in files}
    for _ in range(ROUNDS):
        for name, path in files.items():
            results[name].append(measured(path))
    print()
    for name, rounds in results.items():
        for result in rounds:
            above = result["peak"] - result["baseline"]
            print(
                f"{name:20} {result['seconds']:6.1f} s; peak {above / 1e9:.3f} GB over "
                f"{result['baseline'] / 1e9:.3f} GB, {above / result['target']:.3f} of the result, "
                f"{result['mapped'] / 1e6:.1f} MB of it mapped, "
                f"{result['opened_bytes'] / 1e6:.1f} MB when opened ({result['opened_s']:.2f} s)"
            )
            assert above <= 1.10 * result["target"]
    seconds = {name: min(r["seconds"] for r in rounds) for name, rounds in results.items()}
    print(f"pickle / converted: {seconds['pickle float32'] / seconds['safetensors float16']:.2f}")
