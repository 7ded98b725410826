"""What is read of a single film."""

import pytest
import torch

from emo_core.errors import InputError
from emo_core.evaluation.cases import Case, draw_answer, make_cases
from emo_core.evaluation.films import NUM_KEY_FRAMES, drawn_speed, read_film


@pytest.fixture(scope="module")
def case() -> Case:
    cases = make_cases(
        num_clips=2, seed=8, num_speed_portraits=1, speed_seconds=1.2, long_seconds=1.0
    )
    return cases.speed[2]


def test_readings_follow_the_truth(case, loaded_reader):
    film = read_film(case, draw_answer(case), reader=loaded_reader.reader)
    assert abs(film.mouth_open_F - case.mouth_open).mean() < 0.08
    assert film.mean_speed == pytest.approx(case.speed_deg_s, rel=0.25)
    assert film.region_share > 0.97
    assert film.motion_in_region > 0.6
    assert len(film.differences) == case.num_frames - 1
    assert film.color_F3.mean(axis=0) == pytest.approx(
        case.picture.mean(dim=(0, 1)).numpy(), abs=0.08
    )
    assert film.key_frames.shape[0] == NUM_KEY_FRAMES
    assert film.key_indices[0] == 0 and film.key_indices[-1] == case.num_frames - 1


def test_the_drawn_speed_is_that_of_the_drawn_answer(case, loaded_reader):
    film = read_film(case, draw_answer(case), reader=loaded_reader.reader)
    drawn = drawn_speed(case, reader=loaded_reader.reader)
    # The film is stored in 8 bits.
    assert drawn == pytest.approx(film.mean_speed, rel=0.02)


def test_a_film_with_holes_is_refused(case, loaded_reader):
    frames = case.picture.repeat(case.num_frames, 1, 1, 1)
    frames[4, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="Frame 4 holds NaN"):
        read_film(case, frames, reader=loaded_reader.reader)
