"""The shipped demo checkpoint does its job on a person and a voice that it has never met."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from emo_core.assets import DEMO_CHECKPOINT, DEMO_VAE, LORAS
from emo_core.evaluation.cases import make_cases
from emo_core.evaluation.films import read_film
from emo_core.evaluation.measures import correlation, identity_top1
from emo_core.evaluation.reader import load_reader
from emo_core.face.placement import placement_of_drawing
from emo_core.pipeline import AnimateSettings, Animator

LARGEST_BYTES = 24_000_000


def test_the_files_are_small_and_say_what_they_are():
    files = [DEMO_CHECKPOINT, DEMO_VAE, *LORAS.glob("*.safetensors")]
    assert len(files) == 3
    assert sum(path.stat().st_size for path in files) <= LARGEST_BYTES
    for path in (DEMO_CHECKPOINT, DEMO_VAE):
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["license"] == "Apache-2.0"
            assert file.metadata()["description"]
    with safe_open(DEMO_CHECKPOINT, framework="pt") as file:
        config = json.loads(file.metadata()["emo_config"])
    assert min(config["sampling"]["width"], config["sampling"]["height"]) >= 128


def test_a_stranger_speaks_a_strange_voice():
    """One talk film of the evaluation: the mouth follows the sound, the face stays the person, and
    the film begins as the portrait stands there."""
    cases = make_cases(
        num_clips=2, seed=1, size=128, fps=25.0, num_speed_portraits=1, long_seconds=4.0
    )
    case, reader = cases.talk[0], load_reader().reader
    animator = Animator.load(DEMO_CHECKPOINT, DEMO_VAE, device=torch.device("cpu"))
    settings = AnimateSettings(speed_deg_s=case.speed_deg_s)
    face = placement_of_drawing(case.region, mask_HW=case.region)
    conditions = animator.film(case.picture, case.waveform, settings=settings, face=face)
    frames = torch.cat(list(animator.animate(conditions, settings=settings)))
    film = read_film(case, frames, reader=reader)
    assert correlation(film.mouth_open_F, case.mouth_open) > 0.5
    gallery = reader.read(cases.gallery).identity_ND.numpy()
    assert identity_top1(film.identity_FD, gallery, own_index=0) > 0.8
    assert film.region_share > 0.9
    assert np.isfinite(film.differences).all()
    assert film.mouth_open_F.std() == pytest.approx(case.mouth_open.std(), rel=0.6)
    distance_F = (frames - case.picture).abs().mean(dim=(1, 2, 3))
    assert distance_F[0] < 0.65 * distance_F[12:].mean()
