"""A film's clips in a clip store: what shaped each, so that a rerun makes only what is missing.

Letters: M motion frames, C channels, h and w of latents.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from .config_json import config_to_json
from .errors import InputError
from .film import Film
from .sampling.clip_plan import ClipSpan
from .sampling.generate import FinishedClip
from .sampling.held import Held
from .store.clips import ClipStore, StoredClip
from .store.fingerprint import Fingerprint

logger = logging.getLogger(__name__)

FORMAT = 2
"""To be raised when the same inputs come to give other latents."""


class FilmMemory:
    """The `ClipMemory` of one film, sampled in one way."""

    def __init__(
        self,
        store: ClipStore,
        film: Film,
        shaped_by: Fingerprint,
        device: torch.device,
        on_recall: Callable[[], None],
        *,
        start: Callable[[ClipSpan], object] = lambda span: None,
        is_wanted: bool = True,
    ) -> None:
        """Remember in a store.

        Args:
            shaped_by: everything that shapes a clip beside the film: weights, how they are sampled
                and the noise, unless that is of the start.
            device: where clips are wanted.
            on_recall: called for every clip that the store had.
            start: what a clip's frames begin with, such as noise of the caller's.
            is_wanted: whether somebody asked for the store; otherwise one that is full must not
                cost the film.
        """
        self.store = store
        self.film = film
        self.device = device
        self.on_recall = on_recall
        self.start = start
        self.is_wanted = is_wanted
        fingerprint = shaped_by.copy()
        fingerprint.add("format", FORMAT)
        fingerprint.add("config", config_to_json(film.config))
        fingerprint.add("size", (film.width, film.height))
        fingerprint.add("reference", film.reference.latents_1CHW)
        fingerprint.add("identity", film.reference.identity_2TD)
        fingerprint.add("region", film.still_region())
        fingerprint.add("areas", None if film.area_levels is None else film.face.area_masks)
        fingerprint.add("weights", film.weights)
        self._of_film = fingerprint

    def recall(
        self, span: ClipSpan, led_by: Tensor | None, held: Held | None
    ) -> FinishedClip | None:
        """Return a clip that was made before in this way; None where it is to be made."""
        found = self.store.read(self._fingerprint(span, led_by, held))
        if found is None:
            return None
        logger.info("frames %d to %d: from %s", span.first, span.last, self.store.folder)
        self.on_recall()
        motion = None if found.motion is None else found.motion.to(self.device)
        return FinishedClip(found.latents.to(self.device), motion)

    def keep(
        self, span: ClipSpan, clip: FinishedClip, *, led_by: Tensor | None, held: Held | None
    ) -> None:
        """Keep a clip that was just made.

        Raises:
            InputError: the disk is full or refuses, and the store was asked for.
        """
        fingerprint = self._fingerprint(span, led_by, held)
        try:
            self.store.write(fingerprint, StoredClip(latents=clip.latents, motion=clip.motion))
        except InputError as error:
            if self.is_wanted:
                raise
            logger.warning("frames %d to %d are not kept: %s", span.first, span.last, error)

    def _fingerprint(self, span: ClipSpan, led_by: Tensor | None, held: Held | None) -> str:
        film, config = self.film, self.film.config
        clip_frames = config.sampling.clip_frames
        # A shorter last clip is made whole; windows cover all frames together.
        count = clip_frames if config.sampling.windows is None else span.num_frames
        fingerprint = self._of_film.copy()
        fingerprint.add("clip", (span.index, span.num_frames, span.num_shared, count))
        for first in range(span.first, span.first + count, clip_frames):
            # No more than sampling itself reads at once: of a film in windows that is not all.
            frames = tuple(range(first, min(first + clip_frames, span.first + count)))
            fingerprint.add("audio", film.audio_windows(frames))
            fingerprint.add("speed", film.speed_windows(frames))
            fingerprint.add("moving region", film.moving_region(frames))
        fingerprint.add("start", self.start(span))
        fingerprint.add("led by", led_by)
        fingerprint.add("held", held)
        return fingerprint.text()
