"""Batches: clips of a data set drawn by chance, with what leads them and what they refer to.

Letters: B clips of a batch, F frames, M motion frames, R reference pictures, C channels, h and w of
latents, H and W of pixels, L audio layers, D feature width, W window in frames, S face signals.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import PIXELS_PER_LATENT
from ..face.region import boxes_to_mask
from .latents import LatentClips

REFERENCE_PICTURE_SHARE = 0.6
"""Share of samples whose reference is another picture of the person, not a frame of the clip."""
FOREHEAD_SHARE = 0.2
"""Of a face's height: what lies above the brows."""
LARGEST_GROWTH = 0.15
"""Face boxes are grown by 0 to this before they become the region, so that users need not be
exact."""


@dataclass(frozen=True)
class Batch:
    """What one training step reads."""

    frames: Tensor
    """[B, F, C, h, w] clean latents."""
    motion: Tensor
    """[B, M, C, h, w]: the frames just before; where a film begins, the reference M times, or
    nothing that means anything. M is 0 for single images."""
    begins_film_B: Tensor
    """bool [B]: whether the clip is shown as the first of a film."""
    is_led_B: Tensor
    """bool [B]: whether `motion` means something."""
    reference: Tensor
    """[B, C, h, w]."""
    audio_windows: Tensor
    """[B, F, W, L, D]."""
    speed_windows: Tensor
    """[B, F, W]."""
    region: Tensor
    """[B, 1, H, W]: pixels."""
    mouth: Tensor
    """[B, F, 1, h, w]: 1 where a latent lies in the mouth's box."""
    eyes: Tensor
    """[B, F, 1, h, w]: 1 where a latent lies in the band of the eyes, brows and nose."""
    face_signals: Tensor
    """[B, F, S]."""
    clip_B: Tensor
    """Which clips of the data these are,"""
    frame_BF: Tensor
    """which of their frames are shown,"""
    motion_BM: Tensor
    """and which are before them, (B, M); the first one again and again where there are none."""


def draw_batch(
    data: LatentClips,
    generator: torch.Generator,
    *,
    num_clips: int,
    num_frames: int,
    num_motion: int,
    is_consecutive: bool,
    window_margin: int,
    beginning_share: float = 0.0,
    is_first_reference: bool = False,
) -> Batch:
    """Draw clips by chance, on the device of the data.

    Args:
        generator: on the CPU, so that every device draws the same.
        is_consecutive: frames in a row, led by `num_motion` frames; otherwise any frames of the
            clip, and `num_motion` must be 0.
        beginning_share: of consecutive samples that begin a film, from 0 to 1.
        is_first_reference: whether their reference leads them, with its head as in their first
            frame; else nothing does.
    """
    device = data.latents.device
    total = data.latents.shape[1]
    height, width = data.latents.shape[-2:]
    clip_B = torch.randint(len(data.latents), (num_clips,), generator=generator)
    if is_consecutive:
        begins_film_B = torch.rand(num_clips, generator=generator) < beginning_share
        least_B = torch.where(begins_film_B, 0, num_motion)
        place_B = torch.rand(num_clips, generator=generator)
        start_B = least_B + (place_B * (total - num_frames - least_B + 1)).long()
    else:
        begins_film_B = torch.ones(num_clips, dtype=torch.bool)
        start_B = torch.zeros(num_clips, dtype=torch.long)
    reference = _draw_references(data, clip_B, generator)
    is_first_led = is_consecutive and is_first_reference
    if is_first_led:
        last = total - num_frames
        posed_B, posed = _draw_posed(data, clip_B, start_B, generator, last_start=last)
        start_B = torch.where(begins_film_B, posed_B, start_B)
        reference = torch.where(begins_film_B.to(device)[:, None, None, None], posed, reference)
    frame_BF = start_B[:, None] + torch.arange(num_frames)
    if not is_consecutive:
        frame_BF = torch.rand(num_clips, total, generator=generator).argsort(1)[:, :num_frames]
    motion_BM = (start_B[:, None] + torch.arange(-num_motion, 0)).clamp(min=0)
    window_BFW = frame_BF[..., None] + torch.arange(-window_margin, window_margin + 1)
    growth_B = LARGEST_GROWTH * torch.rand(num_clips, generator=generator).to(device)
    clip_B1 = clip_B.to(device)[:, None]
    clip_B11 = clip_B1[..., None]
    frame_BF, motion_BM = frame_BF.to(device), motion_BM.to(device)
    # Past both ends of the clip its edge repeats.
    window_BFW = window_BFW.clamp(0, total - 1).to(device)
    face_BF4 = data.face_boxes[clip_B1, frame_BF]
    mouth_BF4 = data.mouth_boxes[clip_B1, frame_BF]
    eyes_BF4 = eye_boxes(face_BF4, mouth_BF4)
    region_BHW = boxes_to_mask(
        data.face_boxes[clip_B1[:, 0]],
        height=height * PIXELS_PER_LATENT,
        width=width * PIXELS_PER_LATENT,
        growth=growth_B,
    )
    motion = data.latents[clip_B1, motion_BM].float()
    if is_first_led:
        begins_B1111 = begins_film_B.to(device)[:, None, None, None, None]
        motion = torch.where(begins_B1111, reference[:, None], motion)
    return Batch(
        frames=data.latents[clip_B1, frame_BF].float(),
        motion=motion,
        begins_film_B=begins_film_B.to(device),
        is_led_B=(~begins_film_B | is_first_led).to(device),
        reference=reference,
        audio_windows=data.audio[clip_B11, window_BFW].float(),
        speed_windows=data.speed_deg_s[clip_B11, window_BFW],
        region=region_BHW[:, None],
        mouth=boxes_to_mask(mouth_BF4[:, :, None], height=height, width=width)[:, :, None],
        eyes=boxes_to_mask(eyes_BF4[:, :, None], height=height, width=width)[:, :, None],
        face_signals=data.face_signals[clip_B1, frame_BF],
        clip_B=clip_B1[:, 0],
        frame_BF=frame_BF,
        motion_BM=motion_BM,
    )


def eye_boxes(face_BF4: Tensor, mouth_BF4: Tensor) -> Tensor:
    """Return the bands (B, F, 4) from brows to mouth, as wide as the face: eyes, glasses, nose."""
    x0, y0, x1, y1 = face_BF4.unbind(-1)
    top = y0 + FOREHEAD_SHARE * (y1 - y0)
    return torch.stack([x0, top, x1, mouth_BF4[..., 1].maximum(top)], dim=-1)


def _draw_references(data: LatentClips, clip_B: Tensor, generator: torch.Generator) -> Tensor:
    """Another picture of each person, or a frame of the clip."""
    device = data.latents.device
    share = REFERENCE_PICTURE_SHARE if data.references.shape[1] else 0.0
    is_picture_B = torch.rand(len(clip_B), generator=generator) < share
    place_B = torch.rand(len(clip_B), generator=generator)
    references = torch.empty(len(clip_B), *data.latents.shape[2:], device=device)
    for pool, is_from_B in ((data.latents, ~is_picture_B), (data.references, is_picture_B)):
        place = (place_B[is_from_B] * pool.shape[1]).long()
        drawn = pool[clip_B[is_from_B].to(device), place.to(device)].float()
        references[is_from_B.to(device)] = drawn
    return references


def _draw_posed(
    data: LatentClips,
    clip_B: Tensor,
    start_B: Tensor,
    generator: torch.Generator,
    *,
    last_start: int,
) -> tuple[Tensor, Tensor]:
    """Draw for each clip a picture from which a film can begin: the number of the frame whose head
    it shows (B,), and the picture (B, C, h, w).

    Args:
        start_B: of clips without such a picture this very frame is drawn.
        last_start: the last frame that enough others follow.
    """
    picture_BR = data.reference_frames.cpu()[clip_B]
    is_fit_BR = (picture_BR >= 0) & (picture_BR <= last_start)
    chance_BR = torch.rand(picture_BR.shape, generator=generator)
    score_BR = torch.where(is_fit_BR, chance_BR, -1.0)
    drawn_B = torch.cat([score_BR, torch.zeros(len(clip_B), 1)], dim=1).argmax(dim=1)
    frame_B = torch.cat([picture_BR, start_B[:, None]], dim=1).gather(1, drawn_B[:, None])[:, 0]
    place_B = clip_B.to(data.latents.device)
    own = data.latents[place_B, start_B.to(place_B)][:, None].float()
    pictures = torch.cat([data.references[place_B].float(), own], dim=1)
    return frame_B, pictures[torch.arange(len(clip_B)), drawn_B]
