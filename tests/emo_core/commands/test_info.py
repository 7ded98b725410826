"""`info`: what it says of each family's files, without reading a number of them."""

import json
from pathlib import Path

import pytest
import torch
from parity_kit import CHECKPOINTS, kit
from tiny import tiny_networks

from emo_core.__main__ import main
from emo_core.assets import DEMO_CHECKPOINT, DEMO_VAE
from emo_core.checkpoints.emo import save_emo
from emo_core.checkpoints.families import open_checkpoint
from emo_core.checkpoints.load import load_networks
from emo_core.files.read import TensorFile

FAMILIES = {
    "hallo": ("hallo", "MIT"),
    "echomimic": ("echomimic", "Apache-2.0"),
    "vexpress": ("v_express", "non-commercial research only"),
}


@pytest.fixture(scope="module", params=CHECKPOINTS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family's files as downloaded; the folder bears the kit's name."""
    path = tmp_path_factory.mktemp("kits") / request.param
    path.mkdir()
    kit(request.param).save(path, *CHECKPOINTS[request.param])
    return path


def info(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that the command prints."""
    assert main(["info", str(path)]) == 0
    return capsys.readouterr().out.splitlines()


def values(lines: list[str], name: str) -> list[str]:
    return [line[10:] for line in lines if line.startswith(f"{name:10}")]


def test_folder_and_main_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = CHECKPOINTS[folder.name]
    family, license_name = FAMILIES[folder.name]
    lines = info(folder, capsys)
    assert lines == info(folder / names[0], capsys)
    assert {line.split(" (")[0] for line in values(lines, "file")} == {
        str(folder / name) for name in names
    }
    assert values(lines, "family") == [family]
    assert values(lines, "licence")[0].startswith(f"{license_name}, as its authors published it")
    assert values(lines, "numbers") == ["float32"]
    text = "\n".join(lines).split("config    ")[1]
    assert json.loads(text)["family"] == family
    assert json.loads(text)["backbone"]["unet"]["num_heads"] == 8


def test_sizes_of_the_networks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = values(info(folder, capsys), "part")
    networks = load_networks(folder).parts()
    assert [line.split(":")[0] for line in lines] == sorted(networks)
    for line, (_, network) in zip(lines, sorted(networks.items()), strict=True):
        state = network.state_dict()
        elements = sum(value.numel() for value in state.values())
        assert f": {len(state)} tensors, {elements / 1e6:.3f} M values, " in line
        assert line.endswith(f" {4 * elements / 1e6:.2f} MB")


UNREAD = {
    "hallo": [
        "net.pth: pos_encoder in 32 places: 32 tensors",
        "net.pth: denoising_unet.down_blocks.3.motion_modules: 56 tensors",
        "net.pth: denoising_unet.up_blocks.0.motion_modules: 84 tensors",
    ],
    "echomimic": ["motion_module.pth: pos_encoder in 42 places: 42 tensors"],
    "vexpress": [
        "reference_net.bin: conv_out: 2 tensors",
        "motion_module.bin: pos_encoder in 42 places: 42 tensors",
    ],
}


def test_what_nothing_reads(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = values(info(folder, capsys), "unread")
    found = sorted(line.split(", ")[0] for line in lines)
    assert found == sorted(UNREAD[folder.name])
    checkpoint = open_checkpoint(folder)
    read = {(part.file.path.name, name) for part in checkpoint.parts for name in part.names}
    num_bytes = sum(
        tensor.nbytes
        for file in CHECKPOINTS[folder.name]
        for name, tensor in kit(folder.name).files[file].items()
        if (file, name) not in read
    )
    said = sum(float(line.split(", ")[2].removesuffix(" MB")) for line in lines)
    assert said == pytest.approx(num_bytes / 1e6, abs=0.01 * len(lines))


def test_temporal_modules_that_another_file_overrides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = kit("vexpress").files
    kit("vexpress").save(tmp_path, *CHECKPOINTS["vexpress"])
    whole = files["denoising_unet.bin"] | files["motion_module.bin"]
    torch.save(whole, tmp_path / "denoising_unet.bin")
    lines = values(info(tmp_path, capsys), "unread")
    assert any("denoising_unet.bin: motion_modules in 9 places" in line for line in lines)


def test_no_tensor_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stream(*arguments: object, **options: object) -> None:
        raise AssertionError("was read")

    monkeypatch.setattr(TensorFile, "stream", stream)
    assert info(folder, capsys)


def test_our_own_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.safetensors"
    save_emo(tiny_networks(), path, dtype=torch.float16, description="a toy")
    lines = info(path, capsys)
    assert [line.split(maxsplit=1)[0] for line in lines if line[0] != " "] == [
        *("file", "family", "licence", "about", "numbers"),
        *("part", "part", "part", "config"),
    ]
    assert values(lines, "family") == ["emo"]
    assert values(lines, "licence") == ["Apache-2.0"]
    assert values(lines, "about") == ["a toy"]
    assert values(lines, "numbers") == ["float16"]
    assert lines == info(tmp_path, capsys)


def test_the_demos_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert values(info(DEMO_CHECKPOINT, capsys), "family") == ["emo"]
    lines = info(DEMO_VAE, capsys)
    assert values(lines, "family") == ["taesd"]
    assert "taesd_decoder: 67 tensors, 1.225 M values, 2.45 MB" in values(lines, "part")
    assert not values(lines, "config")


def test_parts_and_strangers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "stranger.pth")
    for path, message in (
        (tmp_path / "stranger.pth", "not a checkpoint this pack can load"),
        (tmp_path, "none of its 1 files of tensors is the denoising network"),
        (tmp_path / "none.pth", "no such file"),
    ):
        assert main(["info", str(path)]) == 2
        assert message in capsys.readouterr().err


def test_info(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(files["checkpoint"])]) == 0
    text = capsys.readouterr().out
    assert "family    emo" in text
    assert "licence   Apache-2.0" in text
    assert "part      reference_net:" in text
    config = json.loads(text.split("config    ")[1])
    assert config["backbone"]["unet"]["block_out_channels"] == [16, 32]
    assert main(["info", str(files["portrait"])]) == 2
