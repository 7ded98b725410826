"""Entries that are damaged, gone, or for a moment not to be read: only these are made again."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from campaign import Campaign, Undisturbed, entries_of
from damage import change_a_bit, cut_short, empty, remove
from faults import Fault
from forks import Forks
from studio import NUM_CLIPS, Wanted
from tally import Tally

Begin = Callable[[str], Campaign]


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("entry cut short", cut_short),
        ("entry with a changed bit", change_a_bit),
        ("entry without content", empty),
        ("entry gone", remove),
    ],
)
def test_damaged_entries_are_made_again_and_no_others(
    begin: Begin, tally: Tally, kind: str, damage: Callable[[Path, Random], None]
) -> None:
    campaign = begin(kind)
    campaign.fill()
    for rng in tally.planned(kind):
        damaged = rng.sample(range(NUM_CLIPS), rng.randint(1, 3))
        for clip in damaged:
            damage(campaign.path_of(clip), rng)
        outcome = campaign.strike(campaign.any_out())
        assert (outcome.status, outcome.latents) == (0, campaign.undisturbed.latents)
        assert outcome.made == sorted(damaged)
    campaign.finish()


def test_an_entry_that_cannot_be_read_for_a_moment_stays(begin: Begin, tally: Tally) -> None:
    """Its clip is begun again and then stopped, before it could be kept a second time."""
    campaign = begin("no file can be opened")
    campaign.fill()
    for rng in tally.planned(campaign.kind):
        clip = rng.randrange(NUM_CLIPS)
        fault = Fault(campaign.kind, clip + 1)
        outcome = campaign.strike(campaign.pictures, fault, not_read=(clip,))
        assert outcome.error == "KeyboardInterrupt: "
    campaign.finish()


def test_room_is_made_under_two_films(
    forks: Forks, undisturbed: Undisturbed, tally: Tally, tmp_path: Path
) -> None:
    """Two programs make their films in one store that holds a third of one; each drops the
    other's clips. What is left is whole, and both films are what they should be."""
    (tmp_path / "other").mkdir()
    other = Undisturbed.make(forks, tmp_path / "other", seed=4)
    wanted = undisturbed.entries | other.entries
    assert len(wanted) == 2 * NUM_CLIPS
    most = 8 * max(map(len, wanted.values()))
    kind = "room is made under two films"
    for rng in tally.planned(kind):
        folder = tmp_path / str(tally.injected[kind])
        (folder / "store").mkdir(parents=True)
        for name in rng.sample(sorted(wanted), 8):  # Left by earlier runs.
            (folder / "store" / f"{name}.safetensors").write_bytes(wanted[name])
        films = [
            Wanted(str(folder / f"film{seed}.mp4"), str(folder / "store"), seed, most)
            for seed in (3, 4)
        ]
        outcomes = forks.make_together([(film, Fault()) for film in films])
        left = entries_of(folder / "store")
        is_damaged = [wanted[name] != content for name, content in left.items()]
        tally.count(kind, lost=sum(is_damaged))
        assert not any(is_damaged)
        assert sum(map(len, left.values())) <= most and len(left) == 8
        for outcome, film in zip(outcomes, (undisturbed, other), strict=True):
            assert (outcome.status, outcome.error) == (0, "")
            assert outcome.latents == film.latents
        names = {path.name for path in folder.iterdir()}
        assert names == {"film3.mp4", "film4.mp4", "store"}
