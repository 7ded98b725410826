"""The reader that ships, on people it has never seen."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from emo_core.assets import FACE_READER
from emo_core.errors import InputError
from emo_core.evaluation.drawn_faces import FaceSet, draw_faces
from emo_core.evaluation.reader import load_reader, resized
from emo_core.evaluation.reader_task import reader_errors, worn_faces
from emo_core.synthetic.drawing import FaceState, draw
from emo_core.synthetic.portrait import random_portrait


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    return draw_faces("validation", 7000, num_people=24, num_pictures=3)


def test_the_file_is_small():
    assert FACE_READER.stat().st_size <= 1.2e6


@pytest.mark.parametrize("is_worn", [False, True])
def test_errors_on_fresh_drawings(loaded_reader, faces, is_worn):
    side = loaded_reader.reader.config.side
    shown = worn_faces(faces, side=side) if is_worn else faces
    errors = reader_errors(loaded_reader.reader, shown)
    assert errors.mouth_open < (0.075 if is_worn else 0.05)
    assert errors.yaw_deg < 1.8
    assert errors.pitch_deg < 1.8
    assert errors.roll_deg < 1.3
    assert errors.box < 0.013
    assert errors.identity_top1 > 0.9


def test_the_stated_errors_are_honest(loaded_reader, faces):
    stated = dataclasses.asdict(loaded_reader.errors)
    measured = dataclasses.asdict(reader_errors(loaded_reader.reader, faces))
    assert stated["num_people"] >= 50
    for name in ("mouth_open", "yaw_deg", "pitch_deg", "roll_deg", "box"):
        assert measured[name] < 1.5 * stated[name], name


def test_a_mouth_that_opens_is_read_as_opening(loaded_reader):
    portrait = random_portrait("test", 3)
    wanted = torch.linspace(0, 1, 6)
    pictures = torch.stack(
        [torch.from_numpy(draw(portrait, FaceState(mouth_open=float(w)))) for w in wanted]
    )
    read = loaded_reader.reader.read(pictures).mouth_open_N
    assert bool((read.diff() > 0.08).all())
    assert float((read - wanted).abs().max()) < 0.15


def test_a_mirrored_picture_turns_the_other_way(loaded_reader):
    state = FaceState(yaw_deg=18.0, roll_deg=8.0)
    picture = torch.from_numpy(draw(random_portrait("test", 5), state).copy())
    pose = loaded_reader.reader.read(torch.stack([picture, picture.flip(1)])).pose_N3
    assert pose[0, 0] == pytest.approx(18.0, abs=4.0)
    assert pose[1, 0] == pytest.approx(-18.0, abs=4.0)
    assert pose[1, 2] == pytest.approx(-8.0, abs=3.0)


def test_size_and_number_format_hardly_matter(loaded_reader):
    reader = loaded_reader.reader
    portrait, state = random_portrait("test", 8), FaceState(yaw_deg=-9.0, mouth_open=0.6)
    small = torch.from_numpy(draw(portrait, state, size=128))[None]
    large = torch.from_numpy(draw(portrait, state, size=256))[None]
    as_bytes, as_floats = reader.read(small), reader.read(small.float() / 255.0)
    assert torch.allclose(as_bytes.pose_N3, as_floats.pose_N3, atol=1e-3)
    enlarged = reader.read(large)
    assert float((enlarged.pose_N3 - as_bytes.pose_N3).abs().max()) < 2.0
    assert float((enlarged.identity_ND * as_bytes.identity_ND).sum()) > 0.9


def test_embeddings_have_unit_length_and_chunks_join(loaded_reader, faces):
    reader = loaded_reader.reader
    pictures = faces.pictures_PKHW3.flatten(0, 1)[:9]
    whole, parts = reader.read(pictures), reader.read(pictures, chunk=4)
    assert torch.allclose(whole.identity_ND.norm(dim=1), torch.ones(9), atol=1e-4)
    assert torch.allclose(whole.boxes_N4, parts.boxes_N4, atol=1e-4)


def test_resized_keeps_the_range_and_what_already_fits():
    fitting = torch.rand(2, 96, 96, 3)
    assert torch.equal(resized(fitting, side=96), fitting.movedim(-1, 1))
    small = resized(torch.full((1, 200, 120, 3), 255, dtype=torch.uint8), side=96)
    assert small.shape == (1, 3, 96, 96)
    assert torch.allclose(small, torch.ones(1))


@pytest.mark.parametrize("shape", [(0, 64, 64, 3), (64, 64, 3), (1, 64, 64, 4)])
def test_what_is_no_film_is_refused(loaded_reader, shape):
    with pytest.raises(InputError, match="Face reader"):
        loaded_reader.reader.read(torch.zeros(shape))


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="none.safetensors: no such file"):
        load_reader(tmp_path / "none.safetensors")


def test_a_file_without_its_metadata_is_refused(tmp_path):
    bare, newer = tmp_path / "bare.safetensors", tmp_path / "newer.safetensors"
    tensors = load_file(FACE_READER)
    save_file(tensors, bare)
    with pytest.raises(InputError, match="metadata cannot be used .*config"):
        load_reader(bare)
    metadata = metadata_of(FACE_READER)
    config = {**json.loads(metadata["config"]), "depth": 3}
    save_file(tensors, newer, metadata={**metadata, "config": json.dumps(config)})
    with pytest.raises(InputError, match="metadata cannot be used .*depth"):
        load_reader(newer)


def test_tensors_are_loaded_strictly(tmp_path):
    tensors = load_file(FACE_READER)
    tensors.pop("mouth.weight")
    tensors["surplus"] = torch.zeros(1)
    tensors["pose.bias"] = torch.zeros(5)
    path = tmp_path / "odd.safetensors"
    save_file(tensors, path, metadata=metadata_of(FACE_READER))
    with pytest.raises(InputError, match="3 tensors .*mouth.weight.*pose.bias.*surplus"):
        load_reader(path)
