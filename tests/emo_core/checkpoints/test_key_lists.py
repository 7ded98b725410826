"""The published checkpoints at full size: every tensor of them has its place, and only the named
dead ones have none.
"""

import re
from pathlib import Path

import pytest
from full_size import (
    FAMILIES,
    Shapes,
    meta_networks,
    num_elements,
    read_key_list,
    save_family,
    save_hollow,
)

from emo_core.checkpoints.checkpoint import Checkpoint
from emo_core.checkpoints.detect import SIGNATURES
from emo_core.checkpoints.families import open_checkpoint
from emo_core.checkpoints.upstream import shapes_of
from emo_core.files.read import read_tensors


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family's files; the folder bears its name."""
    path = tmp_path_factory.mktemp("full") / request.param
    path.mkdir()
    save_family(request.param, path)
    return path


def check_fit(checkpoint: Checkpoint) -> None:
    """Nothing missing, nothing left over, every shape right."""
    for name, network in meta_networks(checkpoint).parts().items():
        wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        found = {key: tuple(value.shape) for key, value in checkpoint.views(name).items()}
        assert found == wanted, name


def taken_names(checkpoint: Checkpoint) -> set[tuple[str, str]]:
    """(file, name in it) of every tensor that a network gets."""
    return {(part.file.path.name, name) for part in checkpoint.parts for name in part.names}


def dead_sections(checkpoint: Checkpoint, family: str) -> dict[str, Shapes]:
    """Upstream's name of a network -> its tensors that no network of ours gets."""
    taken = taken_names(checkpoint)
    return {
        section.network: {
            name: shape
            for name, shape in section.shapes.items()
            if (section.file, name) not in taken
        }
        for section in read_key_list(family)
    }


def test_lists_are_whole() -> None:
    for family in FAMILIES:
        for section in read_key_list(family):
            assert len(section.shapes) == section.num_tensors
            assert num_elements(section.shapes.values()) == section.num_elements


def test_every_tensor_fits(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    assert checkpoint.config.family == folder.name
    check_fit(checkpoint)


FEEDS = {
    "hallo": {
        "reference_net": ("reference_unet", "imageproj"),
        "backbone": ("denoising_unet", "face_locator", "audioproj"),
    },
    "echomimic": {
        "reference_net": ("reference_unet",),
        "backbone": ("denoising_unet", "motion_module", "face_locator"),
    },
    "v_express": {
        "reference_net": ("reference_net",),
        "backbone": ("denoising_unet", "motion_module", "v_kps_guider", "audio_projection"),
    },
}
"""Our network -> upstream's that become it."""


def test_networks_have_as_many_numbers_as_upstreams(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    dead = dead_sections(checkpoint, folder.name)
    listed = {section.network: section.num_elements for section in read_key_list(folder.name)}
    parts = meta_networks(checkpoint).parts()
    assert set(parts) == set(FEEDS[folder.name])
    for name, network in parts.items():
        expected = sum(
            listed[theirs] - num_elements(dead[theirs].values())
            for theirs in FEEDS[folder.name][name]
        )
        assert num_elements(value.shape for value in network.state_dict().values()) == expected


def is_table(name: str) -> bool:
    return name.endswith(".pos_encoder.pe")


def test_dead_tensors_of_hallo(tmp_path: Path) -> None:
    """Temporal modules of the coarsest resolution, which upstream never runs, and sinusoids."""
    save_family("hallo", tmp_path)
    dead = dead_sections(open_checkpoint(tmp_path), "hallo")
    assert [network for network, shapes in dead.items() if shapes] == ["denoising_unet"]
    never_run = {
        name: shape
        for name, shape in dead["denoising_unet"].items()
        if re.search(r"\.down_blocks\.3\.motion_modules\.|\.up_blocks\.0\.motion_modules\.", name)
    }
    assert len(never_run) == 140 == 5 * 28
    assert num_elements(never_run.values()) == 180_768_000
    tables = set(dead["denoising_unet"]) - set(never_run)
    assert len(tables) == 32 and all(is_table(name) for name in tables)


@pytest.mark.parametrize(
    ("family", "motion", "others"),
    [
        ("echomimic", "motion_module", {}),
        ("v_express", "motion_module", {"reference_net": {"conv_out.weight", "conv_out.bias"}}),
    ],
)
def test_dead_tensors_of_the_others(
    family: str, motion: str, others: dict[str, set[str]], tmp_path: Path
) -> None:
    """Sinusoids of 21 modules with two attentions each, and what is named."""
    save_family(family, tmp_path)
    dead = dead_sections(open_checkpoint(tmp_path), family)
    tables = dead.pop(motion)
    assert len(tables) == 42 and all(is_table(name) for name in tables)
    assert {network: set(shapes) for network, shapes in dead.items() if shapes} == others


def test_a_main_file_fits_one_signature_and_the_others_none(folder: Path) -> None:
    main = {
        "hallo": "net.pth",
        "echomimic": "denoising_unet.pth",
        "v_express": "denoising_unet.bin",
    }
    for path in sorted(folder.iterdir()):
        shapes = shapes_of(read_tensors(path))
        fitting = [family for family, fits in SIGNATURES.items() if fits(shapes)]
        assert fitting == ([folder.name] if path.name == main[folder.name] else []), path.name


def test_hallos_training_files(tmp_path: Path) -> None:
    """The same networks, saved one by one without their prefixes."""
    whole, split = tmp_path / "whole", tmp_path / "split"
    whole.mkdir()
    split.mkdir()
    save_family("hallo", whole)
    for section in read_key_list("hallo"):
        prefix = f"{section.network}."
        shapes = {name.removeprefix(prefix): shape for name, shape in section.shapes.items()}
        save_hollow(split / f"{section.network}-30000.pth", shapes)
    checkpoint = open_checkpoint(split)
    assert checkpoint.config == open_checkpoint(whole).config
    check_fit(checkpoint)
    for path in split.iterdir():
        shapes = shapes_of(read_tensors(path))
        fitting = [family for family, fits in SIGNATURES.items() if fits(shapes)]
        assert fitting == (["hallo_split"] if path.stem == "denoising_unet-30000" else [])


@pytest.mark.parametrize("family", ["echomimic", "v_express"])
def test_denoising_files_that_hold_the_temporal_modules_too(family: str, tmp_path: Path) -> None:
    """Upstream's training saves the whole network; each temporal tensor is then taken once."""
    save_family(family, tmp_path)
    sections = {section.network: section for section in read_key_list(family)}
    denoising, motion = sections["denoising_unet"], sections["motion_module"]
    save_hollow(tmp_path / denoising.file, denoising.shapes | motion.shapes)
    check_fit(open_checkpoint(tmp_path))
