"""The median over space and time, against upstream's and however the film is cut."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emo_core.errors import InputError
from emo_core.video.median import MedianFilter

KIT = Path(__file__).resolve().parents[2] / "parity" / "vexpress"


def median_filtered(frames: torch.Tensor) -> torch.Tensor:
    """A whole film at once."""
    median = MedianFilter()
    most, last = median.push(frames), median.finish()
    return most if last is None else torch.cat([most, last])


def film(num_frames, seed=0):
    return torch.rand(num_frames, 7, 10, 3, generator=torch.Generator().manual_seed(seed))


def in_chunks(frames, lengths):
    median_filter = MedianFilter()
    parts = [median_filter.push(part) for part in frames.split(lengths)]
    return torch.cat([*parts, median_filter.finish()])


def plain_median(frames, index):
    """Of one frame, value by value, with the neighbours' places written out."""
    count, height, width = frames.shape[:3]

    def mirrored(place, length):
        return -place if place < 0 else 2 * (length - 1) - place if place >= length else place

    filtered = torch.empty_like(frames[0])
    for y in range(height):
        for x in range(width):
            values = [
                frames[mirrored(index + i, count), mirrored(y + j, height), mirrored(x + k, width)]
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
                for k in (-1, 0, 1)
            ]
            filtered[y, x] = torch.stack(values).median(dim=0).values
    return filtered


def test_the_filter_is_upstream_s_to_the_last_bit():
    frames = load_file(KIT / "inputs.safetensors")["filter_video"].permute(1, 2, 3, 0)
    wanted = load_file(KIT / "expected.safetensors")["filter_out"].permute(1, 2, 3, 0)
    assert torch.equal(median_filtered(frames), wanted)


@pytest.mark.parametrize("lengths", [[1] * 9, [2, 3, 4], [8, 1], [1, 8], [0, 5, 0, 4]])
def test_chunks_make_no_difference(lengths):
    frames = film(9)
    assert torch.equal(in_chunks(frames, lengths), median_filtered(frames))


def test_frames_come_one_behind():
    frames = film(6)
    median_filter = MedianFilter()
    assert [len(median_filter.push(part)) for part in frames.split([1, 3, 2])] == [0, 3, 2]
    assert len(median_filter.finish()) == 1


@pytest.mark.parametrize("num_frames", [2, 3])
def test_short_films_are_mirrored_in_time(num_frames):
    frames = film(num_frames)
    filtered = median_filtered(frames)
    assert filtered.shape == frames.shape
    for index in range(num_frames):
        assert torch.equal(filtered[index], plain_median(frames, index))


def test_a_single_frame_is_filtered_in_space_alone():
    frame = film(1)
    assert torch.equal(median_filtered(frame), median_filtered(frame.repeat(3, 1, 1, 1))[:1])
    specks = torch.full((1, 8, 8, 3), 0.5)
    specks[0, 4, 4] = 1.0
    assert (median_filtered(specks) == 0.5).all()


def test_a_film_of_no_frames_and_a_filter_used_twice():
    assert median_filtered(film(0)).shape == (0, 7, 10, 3)
    median_filter = MedianFilter()
    assert median_filter.finish() is None
    for seed in (1, 2):
        frames = film(4, seed)
        once = torch.cat([median_filter.push(frames), median_filter.finish()])
        assert torch.equal(once, median_filtered(frames))


def test_a_flash_of_one_frame_goes_and_a_steady_edge_stays():
    frames = torch.zeros(5, 8, 8, 3)
    frames[:, :, 4:] = 1.0
    assert torch.equal(median_filtered(frames), frames)
    grey = torch.full((5, 8, 8, 3), 0.5)
    flashing = grey.clone()
    flashing[2] = 1.0
    assert torch.equal(median_filtered(flashing), grey)


def test_bytes_stay_bytes_and_no_chunk_is_kept_alive():
    frames = (film(4) * 255).byte()
    assert median_filtered(frames).dtype == torch.uint8
    assert torch.equal(median_filtered(frames), median_filtered(frames.float()).byte())
    median_filter = MedianFilter()
    median_filter.push(film(50))
    for held in (median_filter._before, median_filter._last):
        assert held.untyped_storage().nbytes() == 7 * 10 * 3 * 4


def test_the_input_is_left_alone():
    frames = film(4)
    copy = frames.clone()
    median_filtered(frames)
    assert torch.equal(frames, copy)


def test_frames_that_cannot_be_filtered():
    median_filter = MedianFilter()
    median_filter.push(film(2))
    with pytest.raises(InputError, match=r"\(7, 9, 3\) after one of shape \(7, 10, 3\)"):
        median_filter.push(film(2)[:, :, :9])
    with pytest.raises(InputError, match="at least 2x2 pixels"):
        MedianFilter().push(torch.rand(3, 1, 10, 3))
