"""Pieces become one film: cross-faded, in step, and to the sample however many there are."""

import math
from fractions import Fraction

import pytest
import torch

from emo_core.audio.waveform import Waveform, resample
from emo_core.errors import InputError
from emo_core.video.joining import joined_frames, joined_length, joined_sound


def piece(num_frames, *, seed=0):
    return torch.rand(num_frames, 4, 5, 3, generator=torch.Generator().manual_seed(seed))


def pieces(lengths):
    return [piece(length, seed=index) for index, length in enumerate(lengths)]


def laid_over(films, crossfade):
    """The same written out: every frame with its weight in every piece, on a line of time."""
    length = sum(map(len, films)) - crossfade * (len(films) - 1)
    total = torch.zeros(length, *films[0].shape[1:], dtype=torch.float64)
    start = 0
    for index, film in enumerate(films):
        for place, frame in enumerate(film):
            weight = 1.0
            if index > 0 and place < crossfade:
                weight = (place + 1) / (crossfade + 1)
            if index < len(films) - 1 and place >= len(film) - crossfade:
                weight = (len(film) - place) / (crossfade + 1)
            total[start + place] += weight * frame.double()
        start += len(film) - crossfade
    return total


@pytest.mark.parametrize("crossfade", [0, 1, 3, 4])
@pytest.mark.parametrize("lengths", [[9], [4, 4], [12, 8, 30, 5], [8, 8, 8]])
def test_ends_are_laid_over_beginnings(lengths, crossfade):
    films = pieces(lengths)
    made = torch.cat(list(joined_frames(films, lengths, crossfade=crossfade)))
    assert len(made) == joined_length(lengths, crossfade=crossfade)
    assert (made - laid_over(films, crossfade)).abs().max() < 1e-6


def test_without_a_crossfade_frames_are_untouched():
    films = pieces([3, 1, 5])
    made = torch.cat(list(joined_frames(films, [3, 1, 5], crossfade=0)))
    assert torch.equal(made, torch.cat(films))


@pytest.mark.parametrize("part_length", [1, 2, 3, 7, 16, 100])
def test_how_the_frames_are_cut_makes_no_difference(part_length):
    lengths = [12, 8, 30, 5]
    films = pieces(lengths)
    whole = torch.cat(list(joined_frames(films, lengths, crossfade=4)))
    parts = torch.cat(films).split(part_length)  # Over the ends of pieces, too.
    assert torch.equal(torch.cat(list(joined_frames(parts, lengths, crossfade=4))), whole)


def test_what_is_alike_stays_as_it_is():
    frame = piece(1)
    films = [frame.expand(6, -1, -1, -1)] * 3
    made = torch.cat(list(joined_frames(films, [6, 6, 6], crossfade=3)))
    assert (made - frame).abs().max() < 1e-6


def test_no_more_than_the_overlap_is_held():
    lengths, frame_bytes = [500] * 4, 8 * 8 * 3 * 4
    most = 0

    def parts():
        nonlocal most
        for _ in range(200):
            yield torch.rand(10, 8, 8, 3)
            held = joining.gi_frame.f_locals["held"]
            most = max(most, len(held))
            # Not views, which would keep the whole part.
            assert all(frame.untyped_storage().nbytes() == frame_bytes for frame in held)

    joining = joined_frames(parts(), lengths, crossfade=5)
    assert max(len(made) for made in joining) <= 10
    assert most == 5


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        ([3, 20], "piece 1 of 2 has 3 frames. Expected at least 4, .* one neighbour"),
        ([20, 3], "piece 2 of 2 has 3 frames. Expected at least 4"),
        ([20, 7, 20], "piece 2 of 3 has 7 frames. Expected at least 8, .* both neighbours"),
    ],
)
def test_a_piece_shorter_than_its_overlaps_is_refused(lengths, words):
    with pytest.raises(InputError, match=words):
        joined_length(lengths, crossfade=4)
    assert joined_length(lengths, crossfade=3) == sum(lengths) - 3 * (len(lengths) - 1)


def test_one_piece_has_nothing_to_fade():
    assert joined_length([2], crossfade=50) == 2


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30000 / 1001, Fraction(30)])
@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_clicks_stay_with_their_frames_over_many_pieces(fps, rate):
    """A click at a frame in each of 200 pieces; the film's length is right to the sample."""
    lengths = [7 + index % 6 for index in range(200)]
    exact = Fraction(fps).limit_denominator(1001)
    sounds = []
    for length in lengths:
        samples = torch.zeros(1, math.ceil(length / fps * rate) + 50)  # Some more than is needed.
        samples[0, round(5 / exact * rate)] = 1.0
        sounds.append(Waveform(samples, rate))
    made = joined_sound(sounds, lengths, crossfade=0, fps=fps)
    assert made.sample_rate_hz == rate
    assert made.samples.shape == (1, round(sum(lengths) / exact * rate))
    heard = made.samples[0].nonzero().flatten()
    seen = [sum(lengths[:index]) + 5 for index in range(len(lengths))]
    assert len(heard) == len(seen)
    for sample, frame in zip(heard.tolist(), seen, strict=True):
        assert abs(sample - frame / exact * rate) <= 1.0


def test_pieces_of_one_sound_give_that_sound():
    """Cut so that neighbours share their ends, as clips of one film do."""
    rate, fps, crossfade, lengths = 16000, 25, 6, [30, 12, 40]
    whole = torch.randn(2, (82 - 12) * 640, generator=torch.Generator().manual_seed(0))
    sounds, start = [], 0
    for length in lengths:
        sounds.append(Waveform(whole[:, start * 640 : (start + length) * 640], rate))
        start += length - crossfade
    made = joined_sound(sounds, lengths, crossfade=crossfade, fps=fps)
    assert made.samples.shape == whole.shape
    assert (made.samples - whole).abs().max() < 1e-5


def test_sounds_fade_over_the_shared_frames_and_nowhere_else():
    ones, twos = Waveform(torch.ones(1, 8000), 8000), Waveform(2 * torch.ones(1, 8000), 8000)
    made = joined_sound([ones, twos], [25, 25], crossfade=5, fps=25).samples[0]
    assert len(made) == 45 * 320
    assert (made[: 20 * 320] == 1).all() and (made[25 * 320 :] == 2).all()
    between = made[20 * 320 : 25 * 320]
    assert (between.diff() > 0).all()
    assert between.mean().item() == pytest.approx(1.5, abs=1e-4)


def test_a_piece_without_sound_is_silent_and_a_short_one_ends_in_silence():
    ones = Waveform(torch.ones(1, 8000), 8000)
    half = Waveform(torch.ones(1, 4000), 8000)
    made = joined_sound([None, ones, half], [25, 25, 25], crossfade=0, fps=25).samples[0]
    assert (made[:8000] == 0).all() and (made[8000:20000] == 1).all() and (made[20000:] == 0).all()
    assert len(made) == 24000


def test_other_rates_and_channels_become_the_first_ones():
    tone = Waveform(torch.sin(torch.arange(48000) * 0.01)[None].repeat(2, 1), 48000)
    mono = Waveform(tone.samples[:1], 48000)
    quiet = Waveform(torch.zeros(2, 44100), 44100)
    made = joined_sound([quiet, mono, tone], [25, 25, 25], crossfade=0, fps=25)
    assert (made.sample_rate_hz, made.samples.shape) == (44100, (2, 3 * 44100))
    wanted = resample(tone, sample_rate_hz=44100).samples
    assert torch.equal(made.samples[:, 44100:88200], wanted)
    assert torch.equal(made.samples[:, 88200:], wanted)
    left_only = Waveform(torch.stack([torch.ones(8000), torch.zeros(8000)]), 8000)
    first = Waveform(torch.zeros(1, 8000), 8000)
    made = joined_sound([first, left_only], [25, 25], crossfade=0, fps=25)
    assert (made.samples[:, 8000:] == 0.5).all()


def test_an_empty_sound_is_refused():
    sounds = [Waveform(torch.ones(1, 8000), 8000), Waveform(torch.zeros(1, 0), 8000)]
    with pytest.raises(InputError, match="sound of piece 2 of 2 is empty"):
        joined_sound(sounds, [25, 25], crossfade=0, fps=25)
