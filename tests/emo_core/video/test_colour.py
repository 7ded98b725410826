"""A film that drifts comes back to its portrait's colours, without jumps and without looking ahead.

Tolerances are in steps of 1/255, as films are stored.
"""

import pytest
import torch

from emo_core.errors import InputError
from emo_core.video.colour import MAX_GAIN, SMOOTHING_FRAMES, ColourMatch

STEP = 1 / 255


def portrait(*, seed=0):
    """Colours between 0.25 and 0.75, so that a drift does not run into black or white."""
    picture = torch.rand(16, 20, 3, generator=torch.Generator().manual_seed(seed))
    return 0.25 + 0.5 * picture


def drifting(num_frames, *, brightness=0.0, contrast=0.0):
    """A still film that is by `brightness` brighter and by `contrast` flatter at its end."""
    picture = portrait()
    films = []
    for time in torch.linspace(0, 1, num_frames):
        middle = picture.mean(dim=(0, 1))
        films.append(middle + (picture - middle) * (1 - contrast * time) + brightness * time)
    return torch.stack(films)


def matched(frames, *, strength=1.0, cut=None, picture=None):
    colours = ColourMatch(portrait() if picture is None else picture, strength=strength)
    parts = frames.split(cut or len(frames))
    return torch.cat([colours.push(part) for part in parts])


@pytest.mark.parametrize(
    ("brightness", "contrast"), [(0.2, 0.0), (-0.2, 0.0), (0.0, 0.4), (0.1, 0.3)]
)
def test_a_linear_drift_is_brought_back_to_what_the_smoothing_lags_behind(brightness, contrast):
    """Over 300 frames a drift of d is left d * 12 / 300 behind: 4 %."""
    num_frames = 300
    frames = drifting(num_frames, brightness=brightness, contrast=contrast)
    error = (matched(frames) - portrait()).abs().amax(dim=(1, 2, 3))
    before = (frames - portrait()).abs().amax(dim=(1, 2, 3))
    lag = SMOOTHING_FRAMES / num_frames
    # Contrast is a share of what is left of it: of 60 %, a lag is larger.
    assert error.max() < 1.2 * lag * (abs(brightness) + 0.25 * contrast / (1 - contrast)) + 1e-4
    assert error.max() < 3 * STEP
    assert error.max() < 0.1 * before.max()


def test_a_tint_drifts_back_too():
    frames = drifting(300)
    frames[..., 0] += torch.linspace(0, 0.2, 300)[:, None, None]
    error = (matched(frames) - portrait()).abs()
    assert error.max() < 3 * STEP


def test_a_film_that_matches_is_left_unchanged():
    frames = portrait().expand(50, -1, -1, -1)
    assert (matched(frames) - frames).abs().max() < 1e-6


def test_the_statistics_of_the_result_are_the_picture_s():
    """Another scene altogether, still: mean and deviation are exactly those of the picture."""
    frames = (0.4 + 0.2 * portrait(seed=7)).expand(5, -1, -1, -1)
    made = matched(frames)
    for frame in made:
        assert (frame.mean(dim=(0, 1)) - portrait().mean(dim=(0, 1))).abs().max() < 1e-5
    strong = portrait().flatten(0, 1).std(dim=0) / frames[0].flatten(0, 1).std(dim=0)
    gain = made[0].flatten(0, 1).std(dim=0) / frames[0].flatten(0, 1).std(dim=0)
    assert (strong > MAX_GAIN).all()  # So it is bounded.
    assert gain == pytest.approx(MAX_GAIN * torch.ones(3), rel=1e-4)


@pytest.mark.parametrize("cut", [1, 3, 7, 16])
def test_cutting_the_film_elsewhere_is_the_same(cut):
    frames = drifting(40, brightness=0.2, contrast=0.2)
    assert torch.equal(matched(frames, cut=cut), matched(frames))


def test_nothing_jumps():
    """A sudden change, as at a joint, is not answered at once: neighbours stay as close as before.

    A change of b would become one of b / 12 in the next frame, and so on.
    """
    frames = drifting(60)
    frames[30:] += 0.2
    made = matched(frames)
    corrections = (made - frames).mean(dim=(1, 2, 3))
    assert corrections.diff().abs().max() < 0.2 / SMOOTHING_FRAMES + 1e-6
    assert corrections[-1].item() == pytest.approx(-0.2, abs=0.02)


def test_later_frames_change_nothing_before_them():
    frames = drifting(30, brightness=0.2)
    assert torch.equal(matched(frames)[:20], matched(frames[:20]))


def test_strength_is_the_share_of_the_way():
    frames = drifting(40, brightness=0.1, contrast=0.2)
    assert torch.allclose(matched(frames, strength=0.0), frames, atol=1e-6)
    half = matched(frames, strength=0.5)
    assert torch.allclose(half, (frames + matched(frames)) / 2, atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_a_film_of_one_colour_stays_one_colour(level):
    made = matched(torch.full((5, 8, 8, 3), level))
    assert torch.isfinite(made).all()
    assert made.flatten(0, 2).std(dim=0).max() < 1e-6
    assert (0 <= made).all() and (made <= 1).all()


def test_the_type_of_numbers_is_kept_and_no_frames_are_none():
    colours = ColourMatch(portrait(), strength=1.0)
    assert colours.push(portrait()[None].half()).dtype == torch.float16
    assert colours.push(portrait()[None][:0]).shape == (0, 16, 20, 3)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(InputError, match=r"Expected 0 to 1"):
        ColourMatch(portrait(), strength=strength)
