"""Verdicts on memory and disks."""

import shutil
from pathlib import Path

import pytest

from emo_core.preflight.findings import (
    DiskUse,
    judge_disks,
    judge_memory,
    size_text,
    worst,
)

GB = 10**9


@pytest.mark.parametrize(
    ("needed", "least", "level"),
    [
        (3 * GB, None, "fits"),
        (4 * GB, None, "fits"),
        (5 * GB, None, "warning"),
        (9 * GB, None, "refused"),
        (9 * GB, 7 * GB, "warning"),
        (9 * GB, 8 * GB + 1, "refused"),
    ],
)
def test_memory(needed: int, least: int | None, level: str) -> None:
    finding = judge_memory(
        "VRAM",
        needed_bytes=needed,
        available_bytes=4 * GB,
        total_bytes=8 * GB,
        parts="all of it",
        advice="Do less.",
        least_bytes=least,
    )
    assert finding.level == level
    assert finding.advice == ("" if level == "fits" else "Do less.")
    has = 8 if level == "refused" else 4
    assert f"VRAM: needs {needed / GB:.1f} GB (all of it), {has}.0 GB available." in finding.text()


@pytest.mark.parametrize(
    ("free", "level"), [(6 * GB, "fits"), (5 * GB, "warning"), (3 * GB - 1, "refused")]
)
def test_what_shares_a_disk_is_added_up(tmp_path: Path, free: int, level: str) -> None:
    uses = [
        DiskUse(folder=tmp_path, what="film", num_bytes=2 * GB),
        DiskUse(folder=tmp_path / "not" / "yet", what="clip store", num_bytes=GB),
    ]
    (finding,) = judge_disks(uses, advice="Free some.", free_on=lambda folder: free)
    assert (finding.level, finding.needed_bytes, finding.available_bytes) == (level, 3 * GB, free)
    assert finding.parts == "film 2.0 GB, clip store 1.0 GB"
    assert str(tmp_path) in finding.what


def test_other_disks_are_judged_by_themselves(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("only one disk here")
    uses = [DiskUse(folder=folder, what="film", num_bytes=2 * GB) for folder in (tmp_path, other)]
    free = {tmp_path: GB, other: 10 * GB}
    found = judge_disks(uses, advice="Free some.", free_on=free.__getitem__)
    assert [finding.level for finding in found] == ["refused", "fits"]
    assert worst(found) == "refused"


def test_free_space_is_the_systems(tmp_path: Path) -> None:
    (finding,) = judge_disks([DiskUse(folder=tmp_path, what="film", num_bytes=1)], advice="")
    assert finding.available_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    assert worst([]) == "fits"


def test_sizes_for_people() -> None:
    sizes = (0, 999, 1000, 1_500_000, 2_340_000_000, 5 * 10**15)
    assert [size_text(size) for size in sizes] == [
        "0 B", "999 B", "1.0 kB", "1.5 MB", "2.3 GB", "5000.0 TB",
    ]  # fmt: skip
