"""Clips as the stages read them: latents and audio features of a whole data set in one file.

Frames are encoded once by the VAE and sound once by the audio encoder; a stage then draws batches
from memory.

Letters: K clips, F frames, R reference pictures, M motion frames, B clips of a batch, h and w of
latents, L audio layers, D feature width, W window in frames.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from ..audio.encoder import AudioEncoder, encode_sound
from ..audio.windows import windows_around_frames
from ..config import PIXELS_PER_LATENT
from ..errors import InputError
from ..face.region import boxes_to_mask
from ..models.vae import VAE
from ..precision import is_half_slow
from .clips import clip_paths, load_clip

REFERENCE_PICTURE_SHARE = 0.6
"""Share of samples whose reference is another picture of the person, not a frame of the clip."""
LARGEST_GROWTH = 0.15
"""Face boxes are grown by 0 to this before they become the region, so that users need not be
exact."""


@dataclass(frozen=True)
class LatentClips:
    """A data set in memory, float16 and float32."""

    latents: Tensor
    """[K, F, 4, h, w], as the networks see them."""
    references: Tensor
    """[K, R, 4, h, w]."""
    audio: Tensor
    """[K, F, L, D]: one feature per frame."""
    face_boxes: Tensor
    """[K, F, 4]."""
    mouth_boxes: Tensor
    """[K, F, 4]."""
    speed_deg_s: Tensor
    """[K, F]."""
    latent_scale: Tensor
    """[]: what the VAE's latents were multiplied by, so that they vary by about 1."""

    def save(self, path: Path) -> None:
        save_file({f.name: getattr(self, f.name).contiguous() for f in fields(self)}, path)

    @classmethod
    def load(cls, path: Path) -> LatentClips:
        if not path.is_file():
            raise InputError(
                f"{path}: no such file. Make it with 'python -m emo_core train encode'."
            )
        return cls(**load_file(path))

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
        name: []
        for name in ("latents", "references", "audio", "face_boxes", "mouth_boxes", "speed_deg_s")
    }
    device = next(vae.parameters()).device
    is_slow = is_half_slow(torch.bfloat16, device)
    for path in tqdm(clip_paths(folder), desc="encode", unit="clip"):
        clip = load_clip(path)
        num_frames = len(clip.frames)
        pictures = torch.cat([clip.frames, clip.references]).float() / 255.0
        with torch.autocast(device.type, torch.bfloat16, enabled=not is_slow):
            latents = vae.encode(pictures.to(device)).half().cpu()
        length = {"fps": clip.fps, "num_frames": clip.first_frame + num_frames}
        sound = torch.cat(list(encode_sound(audio_encoder, clip.waveform, **length)))
        columns["latents"].append(latents[:num_frames])
        columns["references"].append(latents[num_frames:])
        columns["audio"].append(sound[clip.first_frame :].half())
        columns["face_boxes"].append(clip.face_boxes)
        columns["mouth_boxes"].append(clip.mouth_boxes)
        columns["speed_deg_s"].append(clip.speed_deg_s)
    joined = {name: torch.stack(values) for name, values in columns.items()}
    if latent_scale is None:
        scale = 1.0 / joined["latents"].float().std()
    else:
        scale = torch.tensor(latent_scale)
    for name in ("latents", "references"):
        joined[name] = (joined[name].float() * scale).half()
    return LatentClips(**joined, latent_scale=scale)


@dataclass(frozen=True)
class Batch:
    """What one training step reads."""

    frames: Tensor
    """[B, F, 4, h, w] clean latents."""
    motion: Tensor
    """[B, M, 4, h, w]: the frames just before; M is 0 for single images."""
    reference: Tensor
    """[B, 4, h, w]."""
    audio_windows: Tensor
    """[B, F, W, L, D]."""
    speed_windows: Tensor
    """[B, F, W]."""
    region: Tensor
    """[B, 1, H, W]: pixels."""
    mouth: Tensor
    """[B, F, 1, h, w]: 1 where a latent lies in the mouth's box."""

    def to(self, device: torch.device) -> Batch:
        return Batch(*(getattr(self, f.name).to(device) for f in fields(self)))


def draw_batch(
    data: LatentClips,
    generator: torch.Generator,
    *,
    num_clips: int,
    num_frames: int,
    num_motion: int,
    is_consecutive: bool,
    window_margin: int,
) -> Batch:
    """Draw clips by chance.

    Args:
        is_consecutive: frames in a row, led by `num_motion` frames; otherwise any frames of the
            clip, and `num_motion` must be 0.
    """
    total = data.latents.shape[1]
    height, width = data.latents.shape[-2:]
    rows = []
    for clip in torch.randint(len(data.latents), (num_clips,), generator=generator).tolist():
        if is_consecutive:
            last_start = total - num_frames - num_motion
            start = int(torch.randint(last_start + 1, (1,), generator=generator)) + num_motion
            frame_F = torch.arange(start, start + num_frames)
        else:
            start = num_motion
            frame_F = torch.randperm(total, generator=generator)[:num_frames]
        boxes = data.mouth_boxes[clip, frame_F]
        growth = LARGEST_GROWTH * float(torch.rand(1, generator=generator))
        audio = windows_around_frames(data.audio[clip].float(), margin=window_margin)
        speed = windows_around_frames(data.speed_deg_s[clip], margin=window_margin)
        rows.append(
            (
                data.latents[clip, frame_F].float(),
                data.latents[clip, start - num_motion : start].float(),
                _draw_reference(data, clip, generator),
                audio[frame_F],
                speed[frame_F],
                boxes_to_mask(
                    data.face_boxes[clip],
                    height=height * PIXELS_PER_LATENT,
                    width=width * PIXELS_PER_LATENT,
                    growth=growth,
                )[None],
                torch.stack(
                    [boxes_to_mask(box[None], height=height, width=width)[None] for box in boxes]
                ),
            )
        )
    return Batch(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _draw_reference(data: LatentClips, clip: int, generator: torch.Generator) -> Tensor:
    is_picture = float(torch.rand(1, generator=generator)) < REFERENCE_PICTURE_SHARE
    pool = data.references[clip] if is_picture and data.references.shape[1] else data.latents[clip]
    return pool[int(torch.randint(len(pool), (1,), generator=generator))].float()
