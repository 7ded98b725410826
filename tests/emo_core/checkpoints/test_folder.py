"""Checkpoints of several files: what a folder holds, and which files belong together."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from emo_core.checkpoints.folder import checkpoint_files, sibling
from emo_core.errors import InputError


def test_files_of_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "b.pth")
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    torch.save({"lr": 0.1}, tmp_path / "optimizer.bin")
    (tmp_path / "broken.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / ".b.pth.partial").write_bytes(b"")
    (tmp_path / "folder.pth").mkdir()
    found = [file.path.name for file in checkpoint_files(tmp_path)]
    assert found == ["a.safetensors", "b.pth"]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "broken.pt: refused" in caplog.text and "'lr' is float" in caplog.text
    with pytest.raises(InputError, match="none: no such folder"):
        checkpoint_files(tmp_path / "none")


@pytest.mark.parametrize(
    ("path", "stem", "expected"),
    [
        ("denoising_unet.pth", "motion_module", "motion_module.pth"),
        ("denoising_unet_acc.pth", "motion_module", "motion_module_acc.pth"),
        ("denoising_unet_acc.pth", "reference_unet", "reference_unet.pth"),
        ("denoising_unet_pose.pth", "reference_unet", "reference_unet_pose.pth"),
        ("denoising_unet_pose_acc.pth", "reference_unet", "reference_unet_pose.pth"),
        ("denoising_unet_pose_acc.pth", "motion_module", "motion_module_pose_acc.pth"),
        ("denoising_unet-30.pth", "face_locator", "face_locator-30.pth"),
        ("denoising_unet-31.pth", "face_locator", "face_locator.safetensors"),
        ("denoising_unet.bin", "audio_projection", None),
        ("unet.pth", "motion_module", "motion_module.pth"),
        ("_.pth", "motion_module", "motion_module.pth"),
    ],
)
def test_sibling(path: str, stem: str, expected: str | None, tmp_path: Path) -> None:
    for name in (
        *("motion_module.pth", "motion_module_acc.pth"),
        *("motion_module_pose.pth", "motion_module_pose_acc.pth"),
        *("reference_unet.pth", "reference_unet_pose.pth"),
        *("face_locator-30.pth", "face_locator.safetensors"),
    ):
        (tmp_path / name).touch()
    found = sibling(tmp_path / path, stem)
    assert (None if found is None else found.name) == expected
