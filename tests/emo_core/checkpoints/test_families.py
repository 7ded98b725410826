"""Files of the published families: recognised by their keys, loaded strictly, read lazily."""

from pathlib import Path

import pytest
import torch
from parity_kit import CHECKPOINTS, kit
from safetensors.torch import save_file

from emo_core.checkpoints.detect import SIGNATURES
from emo_core.checkpoints.families import open_checkpoint
from emo_core.checkpoints.load import load_networks
from emo_core.errors import InputError
from emo_core.files.read import read_tensors

FAMILIES = {"hallo": "hallo", "echomimic": "echomimic", "vexpress": "v_express"}


@pytest.fixture(scope="module", params=CHECKPOINTS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family's files as downloaded; the folder bears the kit's name."""
    path = tmp_path_factory.mktemp("kits") / request.param
    path.mkdir()
    kit(request.param).save(path, *CHECKPOINTS[request.param])
    return path


def test_each_file_fits_one_signature_at_most(folder: Path) -> None:
    for name in CHECKPOINTS[folder.name]:
        file = read_tensors(folder / name)
        shapes = {key: tuple(tensor.shape) for key, tensor in file.tensors.items()}
        fitting = [family for family, fits in SIGNATURES.items() if fits(shapes)]
        is_main = name == CHECKPOINTS[folder.name][0]
        assert fitting == ([FAMILIES[folder.name]] if is_main else [])


def test_an_incomplete_signature_is_not_taken(folder: Path) -> None:
    path = folder / CHECKPOINTS[folder.name][0]
    tensors = dict(read_tensors(path).tensors)
    marks = ("audioproj.", ".attn1_5.", ".attn2.")
    kept = {key: value for key, value in tensors.items() if not any(m in key for m in marks)}
    assert 0 < len(kept) < len(tensors)
    save_file({key: value.contiguous() for key, value in kept.items()}, folder / "x.safetensors")
    with pytest.raises(InputError, match="x.safetensors: "):
        open_checkpoint(folder / "x.safetensors")
    (folder / "x.safetensors").unlink()


def test_folder_and_main_file_are_the_same(folder: Path) -> None:
    by_folder, by_file = (
        load_networks(path) for path in (folder, folder / CHECKPOINTS[folder.name][0])
    )
    assert by_folder.config == by_file.config
    assert by_folder.config.family == FAMILIES[folder.name]
    for name, network in by_folder.parts().items():
        other = by_file.parts()[name].state_dict()
        assert all(torch.equal(other[k], value) for k, value in network.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_safetensors_files(folder: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    for name in CHECKPOINTS[folder.name]:
        tensors = {k: v.to(dtype) for k, v in kit(folder.name).files[name].items()}
        save_file(tensors, (tmp_path / name).with_suffix(".safetensors"))
    networks = load_networks(tmp_path, dtype=torch.float32)
    exact = load_networks(folder).backbone.state_dict()
    for name, value in networks.backbone.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, exact[name].to(dtype).float()), name


@pytest.mark.parametrize("change", ["missing", "extra", "other shape"])
def test_keys_that_do_not_fit(folder: Path, tmp_path: Path, change: str) -> None:
    names = CHECKPOINTS[folder.name]
    kit(folder.name).save(tmp_path, *names)
    tensors = dict(kit(folder.name).files[names[0]])
    victim = next(key for key in tensors if key.endswith("up_blocks.1.resnets.0.conv1.weight"))
    if change == "missing":
        del tensors[victim]
    elif change == "extra":
        tensors[f"{victim}.stray"] = torch.zeros(1)
    else:
        tensors[victim] = tensors[victim][:-1]
    torch.save(tensors, tmp_path / names[0])
    short = victim.split("up_blocks")[1]
    with pytest.raises(InputError, match=f"does not fit its config.*up_blocks{short}"):
        load_networks(tmp_path)


def test_a_missing_file_is_named(folder: Path, tmp_path: Path) -> None:
    names = CHECKPOINTS[folder.name]
    if len(names) == 1:
        pytest.skip("Hallo's is one file")
    for absent in names[1:]:
        for name in names:
            (tmp_path / name).unlink(missing_ok=True)
        kit(folder.name).save(tmp_path, *(name for name in names if name != absent))
        with pytest.raises(InputError, match=f"{absent} is missing, which holds the"):
            load_networks(tmp_path / names[0])


def test_parts_given_in_place_of_the_main_file(folder: Path) -> None:
    for name in CHECKPOINTS[folder.name][1:]:
        with pytest.raises(InputError, match="denoising network"):
            load_networks(folder / name)


def test_what_never_runs_is_not_loaded() -> None:
    """Hallo's file holds temporal modules that its own program leaves out."""
    names = open_names("hallo")
    stored = kit("hallo").files["net.pth"]
    dead = {key for key in stored if key not in names}
    kinds = ("down_blocks.3.motion_modules.", "up_blocks.0.motion_modules.", ".pos_encoder.pe")
    assert dead and all(any(kind in key for kind in kinds) for key in dead)
    assert len([key for key in dead if not key.endswith(".pe")]) == 130


def open_names(name: str) -> set[str]:
    """Names in the files that a loader takes."""
    import tempfile

    with tempfile.TemporaryDirectory() as path:
        kit(name).save(Path(path), *CHECKPOINTS[name])
        return {key for part in open_checkpoint(Path(path)).parts for key in part.names}


def test_motion_modules_in_both_files(tmp_path: Path) -> None:
    """Upstream loads EchoMimic's denoising file last, V-Express' motion file last."""
    for name, wins in (("echomimic", "denoising"), ("vexpress", "motion")):
        folder = tmp_path / name
        folder.mkdir()
        files = kit(name).files
        main, motion = CHECKPOINTS[name][0], next(n for n in files if n.startswith("motion"))
        kit(name).save(folder, *CHECKPOINTS[name])
        shifted = {key: value + 1 for key, value in files[motion].items()}
        torch.save(files[main] | shifted, folder / main)
        key = "mid_block.motion_modules.0.temporal_transformer.proj_in.bias"
        loaded = load_networks(folder).backbone.state_dict()[key]
        assert torch.equal(loaded, (shifted if wins == "denoising" else files[motion])[key])


def test_accelerated_files_are_told_by_their_name(tmp_path: Path) -> None:
    kit("echomimic").save(tmp_path, *CHECKPOINTS["echomimic"])
    for name in ("denoising_unet", "motion_module"):
        tensors = {key: value + 1 for key, value in kit("echomimic").files[f"{name}.pth"].items()}
        torch.save(tensors, tmp_path / f"{name}_acc.pth")
    plain, fast = (load_networks(tmp_path / f"denoising_unet{a}.pth") for a in ("", "_acc"))
    assert (plain.config.sampling.steps, plain.config.sampling.guidance) == (30, 2.5)
    assert (fast.config.sampling.steps, fast.config.sampling.guidance) == (6, 1.0)
    for key in ("conv_in.bias", "mid_block.motion_modules.0.temporal_transformer.proj_in.bias"):
        shift = fast.backbone.state_dict()[key] - plain.backbone.state_dict()[key]
        assert (shift - 1).abs().max() < 1e-6
    with pytest.raises(InputError, match="more than one checkpoint.*denoising_unet_acc.pth"):
        load_networks(tmp_path)


def test_accelerated_files_need_each_other(tmp_path: Path) -> None:
    kit("echomimic").save(tmp_path, *CHECKPOINTS["echomimic"])
    (tmp_path / "denoising_unet.pth").rename(tmp_path / "denoising_unet_acc.pth")
    with pytest.raises(InputError, match="motion_module_acc.pth is missing"):
        load_networks(tmp_path)


def test_pose_variants_are_refused(tmp_path: Path) -> None:
    kit("echomimic").save(tmp_path, *CHECKPOINTS["echomimic"])
    locator = dict(kit("echomimic").files["face_locator.pth"])
    locator["conv_in.weight"] = locator["conv_in.weight"].repeat(1, 3, 1, 1)
    torch.save(locator, tmp_path / "face_locator.pth")
    with pytest.raises(InputError, match="pose variants, which are not supported"):
        load_networks(tmp_path)


def test_hallos_training_files(tmp_path: Path) -> None:
    whole = kit("hallo").files["net.pth"]
    for name in ("reference_unet", "denoising_unet", "face_locator", "imageproj", "audioproj"):
        prefix = f"{name}."
        part = {k.removeprefix(prefix): v for k, v in whole.items() if k.startswith(prefix)}
        torch.save(part, tmp_path / f"{name}-30000.pth")
    kit("hallo").save(tmp_path, "net.pth")
    split, one = (load_networks(tmp_path / n) for n in ("denoising_unet-30000.pth", "net.pth"))
    assert split.config == one.config
    for name, network in one.parts().items():
        other = split.parts()[name].state_dict()
        assert all(torch.equal(other[k], value) for k, value in network.state_dict().items())


def test_files_of_other_networks_are_explained(folder: Path, tmp_path: Path) -> None:
    """Whatever lies under the name of a part: never a bare KeyError."""
    names = CHECKPOINTS[folder.name]
    others = {
        "empty": {},
        "junk": {"x": torch.zeros(2, 3)},
        "the main file again": kit(folder.name).files[names[0]],
    }
    for victim in names[1:]:
        for what, tensors in others.items():
            kit(folder.name).save(tmp_path, *names)
            torch.save(tensors, tmp_path / victim)
            with pytest.raises(InputError) as caught:
                load_networks(tmp_path / names[0])
            assert len(str(caught.value)) > 60, (victim, what)


def test_half_a_checkpoint_is_explained(tmp_path: Path) -> None:
    whole = kit("hallo").files["net.pth"]
    for prefix in ("imageproj.", "face_locator.", "reference_unet."):
        part = {key: value for key, value in whole.items() if not key.startswith(prefix)}
        torch.save(part, tmp_path / "net.pth")
        with pytest.raises(InputError, match="fetch"):
            load_networks(tmp_path / "net.pth")


def test_position_tables_may_be_left_out(folder: Path, tmp_path: Path) -> None:
    for name in CHECKPOINTS[folder.name]:
        tensors = kit(folder.name).files[name]
        kept = {key: value for key, value in tensors.items() if not key.endswith(".pe")}
        torch.save(kept, tmp_path / name)
    assert load_networks(tmp_path).config == load_networks(folder).config
