"""kill -9 and Ctrl-C at random moments: finished clips stay, and the film comes out the same."""

import signal
from collections.abc import Callable

import pytest
from campaign import Campaign
from faults import Fault
from forks import Outcome
from studio import CALLS_PER_CLIP, NUM_FRAMES
from tally import Tally

Begin = Callable[[str], Campaign]
CLIPS_AT_A_TIME = 3
"""Most that a film gets on before it is disturbed again."""
LONGEST_S = 1.0
"""Until a signal comes from outside."""
STOPPED = "KeyboardInterrupt: "


def check_end(kind: str, outcome: Outcome) -> None:
    """The fault has struck."""
    if kind.startswith("kill"):
        assert outcome.status == -9
    else:
        assert (outcome.status, outcome.error) == (1, STOPPED)


@pytest.mark.parametrize(
    ("kind", "calls_per_clip"),
    [
        ("kill in a step", CALLS_PER_CLIP),
        ("kill in an entry", 2),  # Latents and motion frames.
        ("kill before an entry's name", 1),
        ("kill behind an entry", 1),
        ("stop in a step", CALLS_PER_CLIP),
        ("stop in an entry", 2),
    ],
)
def test_while_clips_are_made(begin: Begin, tally: Tally, kind: str, calls_per_clip: int) -> None:
    campaign = begin(kind)
    for rng in tally.planned(kind):
        campaign.go_on()
        most = calls_per_clip * min(CLIPS_AT_A_TIME, len(campaign.missing))
        fault = Fault(kind, rng.randint(1, most), rng.random())
        check_end(kind, campaign.strike(campaign.any_out(), fault))
    campaign.finish()


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        ("kill in the film", 2 * NUM_FRAMES),  # Picture and sound of every frame.
        ("kill at the film's end", 1),
        ("stop in the film", 2 * NUM_FRAMES),
        ("kill in a picture", NUM_FRAMES),
    ],
)
def test_while_the_film_is_written(begin: Begin, tally: Tally, kind: str, most: int) -> None:
    """All clips are finished; some of the film is written."""
    campaign = begin(kind)
    campaign.fill()
    out = campaign.pictures if "picture" in kind else campaign.film
    for rng in tally.planned(kind):
        outcome = campaign.strike(out, Fault(kind, rng.randint(1, most)))
        check_end(kind, outcome)
        assert not outcome.made
    campaign.finish()


@pytest.mark.parametrize(
    ("kind", "number"),
    [("kill by the clock", signal.SIGKILL), ("stop by the clock", signal.SIGINT)],
)
def test_from_outside(begin: Begin, tally: Tally, kind: str, number: int) -> None:
    """A signal comes whenever it comes; now and then the film is finished before."""
    campaign = begin(kind)
    for rng in tally.planned(kind):
        campaign.go_on()
        fault = Fault(kind, after_s=rng.uniform(0, LONGEST_S), signal=number)
        outcome = campaign.strike(campaign.any_out(), fault)
        if outcome.status:
            check_end(kind, outcome)
    campaign.finish()


def test_what_a_killed_film_leaves_plays(begin: Begin) -> None:
    """Nothing but the end is missing, which the encoder had not handed out."""
    campaign = begin("kill at the film's end")
    campaign.fill()
    campaign.forks.make(campaign.wanted(campaign.film), Fault("kill at the film's end"))
    partial = campaign.folder / "film.partial.mp4"
    assert campaign.check_partial_film(partial) > NUM_FRAMES / 4
