"""A small film and how it is made: what the command line does, with networks that are loaded."""

from __future__ import annotations

import hashlib
import wave
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from tiny import tiny_networks
from torch import Tensor

from emo_core.audio.waveform import Waveform, read_audio
from emo_core.film import Film
from emo_core.models.vae import VAE
from emo_core.pipeline import AnimateSettings, Animator
from emo_core.store.clips import LARGEST_BYTES, ClipStore, StoredClip
from emo_core.video.stills import PngSequenceWriter
from emo_core.video.writer import Mp4Writer

NUM_FRAMES = 99
"""More than libx264 looks ahead, so that a film in the making shows something."""
NUM_CLIPS = 25
"""Of four frames, the last of three."""
STEPS = 2
CALLS_PER_CLIP = STEPS
"""Of the backbone, without guidance."""
SAMPLE_RATE_HZ = 16000
LOSSLESS = 0

Report = Callable[[str], None]
"""Takes a line about what has just happened."""


@dataclass(frozen=True)
class Wanted:
    """One film that is to be made."""

    out: str
    """An mp4 file, or a folder of pictures."""
    store: str
    seed: int = 3
    largest_bytes: int = LARGEST_BYTES


class WatchedStore(ClipStore):
    """Says of every clip when it is safe."""

    report: Report

    def write(self, fingerprint: str, clip: StoredClip) -> None:
        super().write(fingerprint, clip)
        self.report(f"kept {fingerprint}")


@dataclass(frozen=True)
class Studio:
    """Loaded networks and a film's conditions."""

    animator: Animator
    film: Film
    voice: Path

    @classmethod
    def open(cls, folder: Path) -> Studio:
        """Build it; the same in every process.

        Args:
            folder: where the voice lies, see `save_voice`.
        """
        networks = tiny_networks()
        torch.manual_seed(0)
        widths = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
        vae = VAE(scale=1.0, net=AutoencoderTiny(**widths)).eval().requires_grad_(False)
        animator = Animator(networks, vae, networks.front_end)
        portrait = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(2))
        voice = folder / "voice.wav"
        settings = AnimateSettings(steps=STEPS)
        return cls(animator, animator.film(portrait, read_audio(voice), settings=settings), voice)

    def render(self, wanted: Wanted, report: Report) -> None:
        """Make the film, reporting `made INDEX` at a clip's first step, `kept NAME` when its entry
        is written, and `latents DIGEST` at the end."""
        out = Path(wanted.out)
        settings = AnimateSettings(steps=STEPS, guidance=1.0, seed=wanted.seed)
        store = WatchedStore(Path(wanted.store), largest_bytes=wanted.largest_bytes)
        store.report = report
        # On the disk, as the command line keeps it.
        sound = read_audio(self.voice, folder=out.parent)
        digest = hashlib.sha256()

        def on_step(clip: int, step: int, latents: Tensor) -> None:
            if step == 0:
                report(f"made {clip}")

        def noted(clips: Iterable[Tensor]) -> Iterator[Tensor]:
            for clip in clips:
                digest.update(clip.numpy().tobytes())
                yield clip

        clips = self.animator.sample(self.film, settings=settings, on_step=on_step, store=store)
        with self._writer(out, sound) as writer:
            for frames in self.animator.decode(noted(clips)):
                writer.write(frames)
        report(f"latents {digest.hexdigest()}")

    def _writer(self, out: Path, sound: Waveform) -> Mp4Writer | PngSequenceWriter:
        if out.suffix != ".mp4":
            return PngSequenceWriter(out)
        film = self.film
        sizes = {"fps": film.fps, "width": film.width, "height": film.height}
        return Mp4Writer(out, num_frames=film.num_frames, sound=sound, crf=LOSSLESS, **sizes)


def save_voice(folder: Path) -> None:
    """Write the sound of the film: noise, mono, 16 bits."""
    generator = torch.Generator().manual_seed(1)
    samples = 0.2 * torch.randn(NUM_FRAMES * SAMPLE_RATE_HZ // 25, generator=generator)
    with wave.open(str(folder / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((samples.clamp(-1, 1) * 32767).short().numpy().tobytes())
