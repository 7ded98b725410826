"""What a network is fed while it learns: clips drawn from the data, and their conditions.

Letters: B clips, F frames, N images (B * F), M motion frames, C channels, h and w of latents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ..checkpoints.emo import Networks
from ..errors import InputError
from ..models.backbone import Backbone
from ..models.unet import Conditions, Features
from ..sampling.denoising import denoise, guided
from ..sampling.schedule import make_scheduler
from .batches import Batch, draw_batch
from .latents import FACE_SIGNALS, LatentClips
from .stages import Feed

LIP_ROUND = FACE_SIGNALS.index("lip_round")

Predictor = Callable[[Tensor, Tensor], Tensor]
"""Noisy frames (N, C, h, w) and the levels of their clips (B,) -> a network's answer in float32."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What any backbone is told of a batch: the ReferenceNet's features, and what is left out."""

    reference: Features
    motion: Features | None
    speed_windows: Tensor | None
    """[B, F, W]."""
    is_reference_kept_B: Tensor | None = None
    is_audio_kept_B: Tensor | None = None


class Feeder:
    """Draws clips of a data set and prepares their conditions as a `Feed` says."""

    def __init__(self, networks: Networks, feed: Feed, data: LatentClips) -> None:
        temporal = networks.config.backbone.temporal
        self.num_motion = temporal.num_motion_frames if feed.is_temporal else 0
        needed, found = feed.num_frames + self.num_motion, data.latents.shape[1]
        if found < needed:
            raise InputError(
                f"training data: its clips have {found} frames; needed are {needed} "
                f"({self.num_motion} motion frames, {feed.num_frames} new ones). Make longer clips."
            )
        self.networks = networks
        self.feed = feed
        self.data = data

    def draw(self, generator: torch.Generator, *, num_clips: int) -> Batch:
        """Draw clips, to where the networks are."""
        device = self.networks.like.device
        if self.data.latents.device != device:  # The loop moves the networks once it begins.
            self.data = self.data.to(device)
        return draw_batch(
            self.data,
            generator,
            num_clips=num_clips,
            num_frames=self.feed.num_frames,
            num_motion=self.num_motion,
            is_consecutive=self.feed.is_temporal,
            window_margin=self.networks.config.backbone.audio.window_margin,
            beginning_share=self.feed.beginning_share,
            is_first_reference=self.networks.config.sampling.motion.is_first_reference,
        )

    def read(self, batch: Batch, generator: torch.Generator, *, is_dropping: bool) -> Reading:
        """Read reference and motion frames, and draw what is left out.

        Args:
            is_dropping: whether conditions are left out and motion frames are made noisy.
        """
        feed = self.feed
        num_clips = len(batch.frames)
        keeps_reference = keeps_audio = None
        speed_windows = batch.speed_windows if feed.is_speed_fed else None
        if is_dropping:
            if float(torch.rand(1, generator=generator)) < feed.speed_dropout:
                speed_windows = None
            chance = torch.rand(num_clips, generator=generator).to(batch.frames.device)
            keeps_reference = chance >= feed.reference_dropout
            keeps_audio = chance >= feed.reference_dropout + feed.audio_dropout
        reference = self.networks.reference_net(batch.reference)
        motion = None
        if feed.is_temporal:
            noise = torch.randn(batch.motion.shape, generator=generator).to(batch.motion)
            seen = batch.motion + (feed.motion_noise if is_dropping else 0.0) * noise
            motion = self.networks.reference_net(seen.flatten(0, 1))
            keep = batch.is_led_B.to(noise).repeat_interleave(batch.motion.shape[1])
            motion = {name: value * keep[:, None, None] for name, value in motion.items()}
        return Reading(
            reference=reference,
            motion=motion,
            speed_windows=speed_windows,
            is_reference_kept_B=keeps_reference,
            is_audio_kept_B=keeps_audio,
        )

    def prepare(
        self, backbone: Backbone, batch: Batch, reading: Reading, *, is_conditional: bool = True
    ) -> Conditions:
        """Project the conditions of a batch for a backbone.

        Args:
            is_conditional: False leaves out what guidance drops, in all samples.
        """
        feed = self.feed
        config = backbone.backbone_config
        is_region_seen = is_conditional or not config.is_region_guided
        is_speed_seen = is_conditional or not config.is_speed_guided
        shared = backbone.share(
            reference=reading.reference if is_conditional else None,
            region_BCHW=batch.region if is_region_seen else None,
        )
        return backbone.prepare(
            shared,
            num_frames=batch.frames.shape[1],
            like=batch.frames,
            num_conditions=len(batch.frames),
            motion=reading.motion,
            audio_windows_BFWLD=(
                batch.audio_windows if feed.is_audio_fed and is_conditional else None
            ),
            speed_windows_BFW=reading.speed_windows if is_speed_seen else None,
            is_temporal=feed.is_temporal,
            is_reference_kept_B=reading.is_reference_kept_B,
            is_audio_kept_B=reading.is_audio_kept_B,
        )

    def predictor(
        self, backbone: Backbone, batch: Batch, reading: Reading, *, guidance: float
    ) -> Predictor:
        """Return a backbone under a batch's conditions and guidance, 1 for none."""
        halves = [self.prepare(backbone, batch, reading, is_conditional=True)]
        if guidance != 1.0:
            halves.append(self.prepare(backbone, batch, reading, is_conditional=False))

        def predict(noisy_NChw: Tensor, levels_B: Tensor) -> Tensor:
            answers = [backbone(noisy_NChw, levels_B, half) for half in halves]
            unconditional = answers[1] if len(answers) > 1 else None
            return guided(answers[0], unconditional, guidance=guidance)

        return predict


def region_of_frames(batch: Batch) -> Tensor:
    """Where the face may be in each frame, (N, 1, h, w): the share of a latent's pixels, 0 to 1."""
    region_B1hw = adaptive_avg_pool2d(batch.region, batch.frames.shape[-2:])
    return region_B1hw.repeat_interleave(batch.frames.shape[1], dim=0)


def errors_of(
    error_NChw: Tensor,
    batch: Batch,
    *,
    mouth_weight: float,
    face_weight: float = 0.0,
    eyes_weight: float = 0.0,
    round_weight: float = 0.0,
) -> dict[str, Tensor]:
    """Means of a squared error: what is minimised, the plain mean, and that where the mouth is.

    Args:
        round_weight: by how much a wholly rounded mouth counts more than others.
    """
    mouth_N1hw = batch.mouth.flatten(0, 1)
    face_N1hw = region_of_frames(batch)
    eyes_N1hw = batch.eyes.flatten(0, 1)
    round_N111 = batch.face_signals.flatten(0, 1)[:, LIP_ROUND, None, None, None].nan_to_num(0.0)
    mouth_weight_N111 = mouth_weight * (1.0 + round_weight * round_N111)
    weight = (
        1.0 + mouth_weight_N111 * mouth_N1hw + face_weight * face_N1hw + eyes_weight * eyes_N1hw
    )
    return {
        "loss": (error_NChw * weight).mean() / weight.mean(),
        "plain": error_NChw.mean(),
        "mouth": (error_NChw * mouth_N1hw).sum()
        / (mouth_N1hw.sum() * error_NChw.shape[1]).clamp(min=1.0),
    }


def squared_with_change(
    error_NChw: Tensor,
    batch: Batch,
    lead_error_BChw: Tensor,
    *,
    change_weight: float,
    lead_weight: float,
) -> Tensor:
    """Return squared errors, and `change_weight` times those of the change from the frame before:
    an error that stays is seen less than one that flickers.

    Args:
        lead_weight: how much more than others the change into a clip's first frame counts.
        lead_error_BChw: error of the last motion frames, where a clip is led.
    """
    error_BFChw = error_NChw.unflatten(0, batch.frames.shape[:2])
    is_led_B111 = batch.is_led_B[:, None, None, None]
    lead_BChw = torch.where(is_led_B111, lead_error_BChw, error_BFChw[:, 0])
    change_BFChw = torch.cat([lead_BChw[:, None], error_BFChw], dim=1).diff(dim=1).square()
    change_BFChw[:, 0] *= lead_weight
    return error_NChw.square() + change_weight * change_BFChw.flatten(0, 1)


@torch.no_grad()
def sample_frames(
    networks: Networks,
    batch: Batch,
    conditions: Conditions,
    generator: torch.Generator,
    *,
    solver: str,
    steps: int,
) -> Tensor:
    """Sample a batch's frames (N, C, h, w) from noise, without guidance."""
    frames = batch.frames.flatten(0, 1)
    return denoise(
        lambda latents, timestep, _: networks.backbone(latents, timestep, conditions).float(),
        torch.randn(frames.shape, generator=generator),
        scheduler=make_scheduler(networks.config.diffusion, solver=solver),
        steps=steps,
        device=frames.device,
        generator=generator,
    )


def film_rows(batch: Batch, *films_NChw: Tensor) -> Tensor:
    """Latents of a sheet with a row per clip: its reference, then four frames of each film."""
    num_clips, num_frames = batch.frames.shape[:2]
    step = max(1, num_frames // 4)
    rows = [batch.reference[:, None]]
    rows += [film.unflatten(0, (num_clips, num_frames))[:, ::step][:, :4] for film in films_NChw]
    return torch.cat(rows, dim=1).flatten(0, 1)
