"""A film's clips in a clip store: what shaped each, so that a rerun makes only what is missing.

Letters: M motion frames, C channels, h and w of latents.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from .audio.rows import cut_windows
from .checkpoints.emo import Networks
from .config import config_to_json
from .film import Film
from .models.vae import VAE
from .sampling.clip_plan import ClipSpan
from .sampling.generate import FinishedClip
from .store.clips import ClipStore, StoredClip
from .store.fingerprint import Fingerprint, network_fingerprint

logger = logging.getLogger(__name__)

FORMAT = 1
"""To be raised when the same inputs come to give other latents."""


class FilmMemory:
    """The `ClipMemory` of one film, sampled in one way."""

    def __init__(
        self,
        store: ClipStore,
        film: Film,
        networks: Networks,
        vae: VAE,
        *,
        solver: str,
        steps: int,
        guidance: float,
        seed: int,
    ) -> None:
        self.store = store
        self.film = film
        parameter = next(networks.backbone.parameters())
        self.device = parameter.device
        sampling = film.config.sampling
        fingerprint = Fingerprint()
        fingerprint.add("format", FORMAT)
        fingerprint.add("torch", torch.__version__)
        fingerprint.add("computed", f"{parameter.dtype} on {parameter.device.type}")
        fingerprint.add("config", config_to_json(film.config))
        fingerprint.add("backbone", network_fingerprint(networks.backbone))
        fingerprint.add("reference_net", network_fingerprint(networks.reference_net))
        if sampling.motion.is_decoded:
            fingerprint.add("vae", network_fingerprint(vae))
        fingerprint.add("size", (film.width, film.height))
        fingerprint.add("reference", film.reference.latents_1CHW)
        fingerprint.add("identity", film.reference.identity_2TD)
        fingerprint.add("region", film.still_region())
        fingerprint.add("areas", None if film.area_levels is None else film.face.area_masks)
        fingerprint.add("weights", film.weights)
        fingerprint.add("sampled", (solver, steps, guidance, seed))
        self._of_film = fingerprint

    def recall(self, span: ClipSpan, motion: Tensor | None) -> FinishedClip | None:
        """Return a clip that was made before; None where it is to be made."""
        found = self.store.read(self._fingerprint(span, motion))
        if found is None:
            return None
        logger.info("clip %d: taken from %s", span.index + 1, self.store.folder)
        motion = None if found.motion is None else found.motion.to(self.device)
        return FinishedClip(span=span, latents=found.latents.to(self.device), motion=motion)

    def keep(self, clip: FinishedClip, *, led_by: Tensor | None) -> None:
        """Keep a clip that was just made, led by these motion latents (M, C, h, w)."""
        fingerprint = self._fingerprint(clip.span, led_by)
        self.store.write(fingerprint, StoredClip(latents=clip.latents, motion=clip.motion))

    def _fingerprint(self, span: ClipSpan, motion: Tensor | None) -> str:
        film, config = self.film, self.film.config
        count = span.num_frames
        if config.sampling.windows is None:
            count = config.sampling.clip_frames  # A shorter last clip is made whole.
        frames = tuple(range(span.first, span.first + count))
        fingerprint = self._of_film.copy()
        fingerprint.add("clip", (span.index, span.num_frames, count))
        windows = cut_windows(
            film.rows_RLD, torch.tensor(frames), audio=config.backbone.audio, fps=film.fps
        )
        fingerprint.add("audio", windows)
        fingerprint.add("speed", film.speed_windows(frames))
        fingerprint.add("moving region", film.moving_region(frames))
        fingerprint.add("led by", motion)
        return fingerprint.text()
