"""Clips as the stages read them: latents and audio features of a whole data set in one file.

Frames are encoded once by the VAE and sound once by the audio encoder; `batches` draws from that.

Letters: K clips, F frames, R reference pictures, C channels, h and w of latents, L audio layers, D
feature width, S face signals.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..audio.encoder import AudioEncoder, encode_sound
from ..errors import InputError
from ..files.write import write_tensors
from ..models.vae import VAE
from ..precision import is_half_slow
from ..synthetic.articulation import ARTICULATION_CHANNELS
from .clips import (
    ARTICULATION_RATE_HZ,
    EXPRESSION_COLUMNS,
    Clip,
    clip_paths,
    load_clip,
)
from .handover import read_made

FACE_SIGNALS = (*ARTICULATION_CHANNELS, *EXPRESSION_COLUMNS)
"""What is known of the face in a frame; ranges as in `synthetic.face_state`."""
NUM_HELD_OUT = 8
"""The data's last clips are only shown and measured."""
LARGEST_CHUNK = 64
"""Pictures that an accelerator encodes at once."""


@dataclass(frozen=True)
class LatentClips:
    """A data set in memory, float16 and float32."""

    latents: Tensor
    """[K, F, C, h, w], as the networks see them."""
    references: Tensor
    """[K, R, C, h, w]."""
    reference_frames: Tensor
    """[K, R]: as in `clips.Clip`."""
    audio: Tensor
    """[K, F, L, D]: one feature per frame."""
    face_boxes: Tensor
    """[K, F, 4]."""
    mouth_boxes: Tensor
    """[K, F, 4]."""
    speed_deg_s: Tensor
    """[K, F]."""
    face_signals: Tensor
    """[K, F, S]: FACE_SIGNALS of each frame; NaN where unknown."""
    latent_scale: Tensor
    """[]: what the VAE's latents were multiplied by, so that they vary by about 1."""

    def to(self, device: torch.device) -> LatentClips:
        """The same on a device: batches are drawn where the data lie."""
        return LatentClips(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def save(self, path: Path) -> None:
        write_tensors(path, {f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> LatentClips:
        names = [f.name for f in fields(cls)]
        return cls(**read_made(path, names, made_by="train encode"))

    def split(self, num_held_out: int) -> tuple[LatentClips, LatentClips]:
        """Return all but the last clips, and those."""
        if not 0 < num_held_out < len(self.latents):
            raise InputError(
                f"training data: {len(self.latents)} clips, of which {num_held_out} are held out. "
                "Encode more clips."
            )
        last = {"latent_scale": self.latent_scale}
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in last}
        return (
            LatentClips(**{name: v[:-num_held_out] for name, v in columns.items()}, **last),
            LatentClips(**{name: v[-num_held_out:] for name, v in columns.items()}, **last),
        )


@torch.no_grad()
def encode_clips(
    folder: Path, *, vae: VAE, audio_encoder: AudioEncoder, latent_scale: float | None = None
) -> LatentClips:
    """Encode every clip of a folder. All must have the same size and number of frames.

    Args:
        vae: of scale 1.
        latent_scale: of the networks that will read the latents; None measures one here.
    """
    columns: dict[str, list[Tensor]] = {
        field.name: [] for field in fields(LatentClips) if field.name != "latent_scale"
    }
    device = next(vae.parameters()).device
    is_slow = is_half_slow(torch.bfloat16, device)
    # One by one and channels last, pictures stay in a processor's cache: 1.75 times as fast there.
    vae = vae.to(memory_format=torch.channels_last)
    chunk = 1 if device.type == "cpu" else LARGEST_CHUNK
    for path in tqdm(clip_paths(folder), desc="encode", unit="clip"):
        clip = load_clip(path)
        num_frames = len(clip.frames)
        pictures = torch.cat([clip.frames, clip.references]).float() / 255.0
        with torch.autocast(device.type, torch.bfloat16, enabled=not is_slow):
            latents = vae.encode(pictures.to(device), chunk=chunk).half().cpu()
        length = {"fps": clip.fps, "num_frames": clip.first_frame + num_frames}
        sound = torch.cat(list(encode_sound(audio_encoder, clip.waveform, **length)))
        columns["latents"].append(latents[:num_frames])
        columns["references"].append(latents[num_frames:])
        columns["reference_frames"].append(clip.reference_frames)
        columns["audio"].append(sound[clip.first_frame :].half())
        columns["face_boxes"].append(clip.face_boxes)
        columns["mouth_boxes"].append(clip.mouth_boxes)
        columns["speed_deg_s"].append(clip.speed_deg_s)
        columns["face_signals"].append(face_signals(clip))
    joined = {name: torch.stack(values) for name, values in columns.items()}
    if latent_scale is None:
        scale = 1.0 / joined["latents"].float().std()
    else:
        scale = torch.tensor(latent_scale)
    for name in ("latents", "references"):
        joined[name] = (joined[name].float() * scale).half()
    return LatentClips(**joined, latent_scale=scale)


def face_signals(clip: Clip) -> Tensor:
    """Return FACE_SIGNALS of a clip's frames, [F, S]; NaN where the clip does not know them."""
    num_frames, num_shapes = len(clip.frames), len(clip.articulation)
    signals = torch.full((num_frames, len(FACE_SIGNALS)), torch.nan)
    if num_shapes:
        center_s = (clip.first_frame + torch.arange(num_frames) + 0.5) / clip.fps
        place = (center_s * ARTICULATION_RATE_HZ - 0.5).clamp(0, num_shapes - 1)
        before = place.long().clamp(max=max(0, num_shapes - 2))
        after = (before + 1).clamp(max=num_shapes - 1)
        share = (place - before)[:, None]
        shapes = (1 - share) * clip.articulation[before] + share * clip.articulation[after]
        signals[:, : len(ARTICULATION_CHANNELS)] = shapes
    if len(clip.expression):
        signals[:, len(ARTICULATION_CHANNELS) :] = clip.expression
    return signals
