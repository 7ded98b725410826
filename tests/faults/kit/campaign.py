"""A film that is disturbed again and again, and the rule that holds after every disturbance.

The rule: every clip that was finished is still there, byte for byte; only missing ones were made,
in order; at most one clip was begun in vain; and nothing half done is left, but what a killed
program leaves: its film so far, which plays, and hidden files that go a week later.
"""

from __future__ import annotations

import io
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import av
import numpy as np
from faults import Fault
from forks import Forks, Outcome
from PIL import Image
from studio import NUM_CLIPS, NUM_FRAMES, Wanted
from tally import Tally

from emo_core.files.replace import STALE_S

ENDING = ".safetensors"
NUM_MISSING = 8
"""Clips of a film on its way; to make all of them each time would take minutes."""


@dataclass(frozen=True)
class Undisturbed:
    """What a film is when nothing happens."""

    names: list[str]
    """Of the clips' entries, in the film's order."""
    entries: dict[str, bytes]
    latents: str
    """A digest."""
    frames: list[bytes]
    """As the mp4 film decodes."""
    sound: bytes
    pictures: dict[str, bytes]

    @classmethod
    def make(cls, forks: Forks, folder: Path, *, seed: int = 3) -> Undisturbed:
        store, film, pictures = folder / "store", folder / "film.mp4", folder / "pictures"
        made = forks.make(Wanted(str(film), str(store), seed))
        again = forks.make(Wanted(str(pictures), str(store), seed))
        assert (made.status, again.status) == (0, 0), made.error + again.error
        frames, sound = decoded(film)
        assert len(frames) == NUM_FRAMES and len(set(frames)) > NUM_FRAMES / 2
        contents = read_folder(pictures)
        assert len(contents) == NUM_FRAMES
        return cls(made.kept, entries_of(store), made.latents, frames, sound, contents)


class Campaign:
    """A film of this kind of disturbance, in folders of its own."""

    def __init__(
        self, kind: str, forks: Forks, undisturbed: Undisturbed, tally: Tally, folder: Path
    ) -> None:
        self.kind, self.forks, self.undisturbed, self.tally = kind, forks, undisturbed, tally
        self.store, self.folder = folder / "store", folder / "out"
        self.rng = Random(f"outputs of {kind}")
        self.film, self.pictures = self.folder / "film.mp4", self.folder / "pictures"
        self.folder.mkdir(parents=True)

    @property
    def missing(self) -> list[int]:
        """Numbers of clips that have no whole entry."""
        whole = self._whole()
        return [i for i, name in enumerate(self.undisturbed.names) if name not in whole]

    def fill(self) -> None:
        """All clips are finished, the film has yet to be written."""
        self.store.mkdir(exist_ok=True)
        for name, content in self.undisturbed.entries.items():
            (self.store / f"{name}{ENDING}").write_bytes(content)

    def wanted(self, out: Path) -> Wanted:
        return Wanted(str(out), str(self.store))

    def any_out(self) -> Path:
        """The film as mp4, or as pictures."""
        return self.rng.choice([self.film, self.pictures])

    def path_of(self, clip: int) -> Path:
        """A clip's entry."""
        return self.store / f"{self.undisturbed.names[clip]}{ENDING}"

    def strike(
        self,
        out: Path,
        fault: Fault | None = None,
        *,
        not_read: tuple[int, ...] = (),
        levels: int = 0,
    ) -> Outcome:
        """Make the film with a fault, and hold the rule.

        Args:
            not_read: clips that the fault keeps from being read.
            levels: of 256, that the fault may change pixels by.
        """
        self.clear_film()
        before, missing = self._whole(), [*self.missing, *not_read]
        damaged = entries_of(self.store).keys() - before
        outcome = self.forks.make(self.wanted(out), fault)
        after = self._whole()
        assert entries_of(self.store).keys() - after <= damaged, "an entry that is not whole"
        lost = (before | set(outcome.kept)) - after
        self.tally.count(self.kind, lost=len(lost))
        assert not lost, f"{len(lost)} finished clips were lost"
        assert outcome.made == sorted(missing)[: len(outcome.made)], "not what was missing"
        num_safe = len(after - before) + len(after & {self.undisturbed.names[i] for i in not_read})
        assert len(outcome.made) - num_safe <= 1, "more than the clip at work was begun in vain"
        if out.exists():  # Under its own name there is nothing but the whole film.
            self.check_film(out, levels=levels)
        self._check_left(is_killed=outcome.status == -9, out=out)
        return outcome

    def finish(self) -> None:
        """Make the film undisturbed from what is there; it is the one that it should be."""
        self.clear_film()
        missing, out = self.missing, self.any_out()
        outcome = self.forks.make(self.wanted(out))
        assert outcome.status == 0, outcome.error
        assert outcome.made == missing
        assert outcome.latents == self.undisturbed.latents
        self.check_film(out)
        assert entries_of(self.store) == self.undisturbed.entries
        assert list(self.folder.iterdir()) == [out], "something is left"
        assert all(path.suffix == ENDING for path in self.store.iterdir()), "something is left"

    def check_film(self, out: Path, *, levels: int = 0) -> None:
        """It is the undisturbed one; no pixel is further off than some of 256 levels."""
        wanted = self.undisturbed
        if out == self.pictures:
            found = read_folder(out)
            assert found.keys() == wanted.pictures.keys()
            pairs = [(_pixels(found[name]), _pixels(wanted.pictures[name])) for name in found]
            assert levels or found == wanted.pictures
        else:
            frames, sound = decoded(out)
            assert len(frames) == NUM_FRAMES and sound == wanted.sound
            pairs = [
                tuple(np.frombuffer(frame, np.uint8) for frame in pair)
                for pair in zip(frames, wanted.frames, strict=True)
            ]
        assert all(np.abs(one.astype(int) - other).max() <= levels for one, other in pairs)

    def check_partial_film(self, path: Path) -> int:
        """What a killed program has left of a film; return how many frames it shows."""
        if not path.stat().st_size:  # Killed before the first frame.
            return 0
        frames, _ = decoded(path)
        assert frames == self.undisturbed.frames[: len(frames)]
        return len(frames)

    def begin_again(self) -> None:
        """Some clips here and there are missing."""
        self.fill()
        for clip in self.rng.sample(range(NUM_CLIPS), NUM_MISSING):
            self.path_of(clip).unlink()

    def go_on(self) -> None:
        """A film that is finished is checked, and another begun."""
        if self.store.exists() and not self.missing:
            self.finish()
        if not self.missing or not self.store.exists():
            self.begin_again()

    def clear_film(self) -> None:
        self.film.unlink(missing_ok=True)
        shutil.rmtree(self.pictures, ignore_errors=True)

    def _whole(self) -> set[str]:
        """Entries as they should be."""
        entries, wanted = entries_of(self.store), self.undisturbed.entries
        return {name for name, content in entries.items() if wanted.get(name) == content}

    def _check_left(self, *, is_killed: bool, out: Path) -> None:
        left = [path for path in self.store.glob("*") if path.suffix != ENDING]
        left += [path for path in self.folder.iterdir() if path != out]
        for path in left:
            assert is_killed, f"{path} is left"
            if path.name.startswith(".emo-"):
                week_ago = time.time() - STALE_S - 1
                os.utime(path, (week_ago, week_ago))
            else:
                assert path.name == "film.partial.mp4"
                self.check_partial_film(path)
                path.unlink()


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def decoded(path: Path) -> tuple[list[bytes], bytes]:
    """The frames and the sound of a film."""
    with av.open(str(path)) as film:
        frames = [frame.to_ndarray().tobytes() for frame in film.decode(video=0)]
    with av.open(str(path)) as film:
        sound = b"".join(piece.to_ndarray().tobytes() for piece in film.decode(audio=0))
    return frames, sound


def entries_of(store: Path) -> dict[str, bytes]:
    if not store.is_dir():
        return {}
    return {path.stem: path.read_bytes() for path in store.glob(f"*{ENDING}")}


def read_folder(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
