"""No memory and no room, anywhere: the film stops and says why, and the next run goes on."""

from collections.abc import Callable

import pytest
from campaign import Campaign
from faults import Fault
from studio import CALLS_PER_CLIP, NUM_CLIPS, NUM_FRAMES
from tally import Tally

Begin = Callable[[str], Campaign]
FULL = "the disk is full. Expected room for the result; free some, or choose another folder."
PACKETS = 150
"""Of picture and sound that the film has at least."""
ENTRY_BYTES = 6400


def test_the_model_has_no_memory(begin: Begin, tally: Tally) -> None:
    campaign = begin("no memory in the model")
    for rng in tally.planned(campaign.kind):
        campaign.go_on()
        number = rng.randint(1, CALLS_PER_CLIP * min(3, len(campaign.missing)))
        outcome = campaign.strike(campaign.any_out(), Fault(campaign.kind, number))
        assert outcome.error == "OutOfMemoryError: CUDA out of memory."
    campaign.finish()


def test_the_decoder_has_memory_for_less(begin: Begin, tally: Tally) -> None:
    """Nothing is to be seen of it: torch rounds otherwise in smaller parts, by 6e-8 of 1."""
    campaign = begin("no memory in the decoder but for less")
    for rng in tally.planned(campaign.kind):
        campaign.begin_again()
        fault = Fault(campaign.kind, rng.randint(1, NUM_CLIPS), rng.choice([0.25, 0.5, 0.75]))
        outcome = campaign.strike(campaign.any_out(), fault, levels=1)
        assert (outcome.status, outcome.latents) == (0, campaign.undisturbed.latents)
        assert not campaign.missing


def test_the_decoder_has_no_memory(begin: Begin, tally: Tally) -> None:
    """Only a film that is made while it is decoded can lose a clip."""
    campaign = begin("no memory in the decoder")
    for rng in tally.planned(campaign.kind):
        campaign.begin_again()
        fault = Fault(campaign.kind, rng.randint(1, NUM_CLIPS))
        outcome = campaign.strike(campaign.any_out(), fault)
        assert outcome.error.startswith("InputError: decoding a single frame of 8x8 latents needs")
    campaign.finish()


def test_the_encoder_has_no_memory(begin: Begin, tally: Tally) -> None:
    """Three errors say so: Python's, FFmpeg's and the system's."""
    campaign = begin("no memory in the encoder")
    campaign.fill()
    for rng in tally.planned(campaign.kind):
        fault = Fault(campaign.kind, rng.randint(1, NUM_FRAMES))
        outcome = campaign.strike(campaign.film, fault)
        assert "Cannot allocate memory" in outcome.error or "MemoryError: " in outcome.error
    campaign.finish()


def test_the_disk_has_no_room_for_an_entry(begin: Begin, tally: Tally) -> None:
    campaign = begin("no room for an entry")
    for rng in tally.planned(campaign.kind):
        campaign.go_on()
        number = rng.randint(1, 2 * min(3, len(campaign.missing)))
        fault = Fault(campaign.kind, number, rng.random())
        outcome = campaign.strike(campaign.any_out(), fault)
        assert outcome.error.startswith("InputError: ")
        assert outcome.error.endswith(f".safetensors: {FULL}")
    campaign.finish()


@pytest.mark.parametrize(
    ("kind", "most", "name"),
    [
        ("no room for the film", PACKETS, "film.mp4"),
        ("no room for what is shown", PACKETS, "film.mp4"),
        ("no room for a picture", NUM_FRAMES, "pictures"),
        ("no room for the sound", 1, "temporary file"),
    ],
)
def test_the_disk_has_no_room_for_the_film(
    begin: Begin, tally: Tally, kind: str, most: int, name: str
) -> None:
    campaign = begin(kind)
    campaign.fill()
    out = campaign.pictures if name == "pictures" else campaign.film
    for rng in tally.planned(kind):
        outcome = campaign.strike(out, Fault(kind, rng.randint(1, most)))
        assert outcome.error == f"InputError: {out.parent / name}: {FULL}"
    campaign.finish()


def test_the_system_refuses_for_real(begin: Begin, tally: Tally) -> None:
    """The kernel's own limit to a file's size, met by whoever writes past it first."""
    campaign = begin("refused")
    for rng in tally.planned(campaign.kind):
        campaign.begin_again()
        most = rng.choice([ENTRY_BYTES - 1, 10 * ENTRY_BYTES])
        outcome = campaign.strike(campaign.film, Fault(campaign.kind, rng.randint(0, most)))
        assert outcome.error.startswith("InputError: ")
        assert "the file system takes no file of this size" in outcome.error
    campaign.finish()
