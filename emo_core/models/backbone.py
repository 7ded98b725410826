"""The backbone: a UNet that denoises the frames of one clip under all conditions.

What does not depend on the timestep is projected before the first step, and a step only reads it:
`share` once per film, `prepare` once per clip. A dropped condition (the unconditional half of
guidance) costs nothing: the attention to it is a known constant.

Source: EMO (arXiv 2402.17485), "Network Pipelines".

Letters: B conditions, F new frames, M motion frames, N images (B * F, frame after frame within a
condition), W window in rows, L encoder layers, D feature width, C channels, T identity tokens,
R areas (background, face, lips), H and W rows and columns of pixels, h and w of a level.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn

from ..config import BackboneConfig
from .attention import KeyValue, SpatialConditions, dropped_rows
from .audio import audio_projection_of
from .audio_modules import AudioModuleConditions, AudioTransformer
from .face_locator import FaceLocator
from .speed import SpeedEmbedding
from .temporal import TemporalConditions, TemporalTransformer
from .unet import Conditions, Features, UNet

NUM_AREAS = 3
"""Background, face and lips."""


@dataclass(frozen=True)
class SharedConditions:
    """What all clips of a film read alike, projected."""

    reference: dict[str, KeyValue] | None
    """One sequence per condition; None is a dropped reference."""
    region: Tensor | None
    """(B, 1, C, h, w)."""

    def to(self, device: torch.device) -> SharedConditions:
        reference, region = self.reference, self.region
        if reference is not None:
            reference = {name: key_value.to(device) for name, key_value in reference.items()}
        return SharedConditions(reference, None if region is None else region.to(device))


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Factors on what each condition adds; 1 is as trained."""

    reference: float = 1.0
    audio: float = 1.0
    areas: tuple[float, ...] = (1.0,) * NUM_AREAS
    """On the audio's part in background, face and lips."""
    speed: float = 1.0


AS_TRAINED = Weights()


class Backbone(UNet):
    """UNet, audio projection, speed embedding and face locator of one checkpoint."""

    def __init__(self, config: BackboneConfig, *, ops: ModuleType = nn) -> None:
        speed_dim = None if config.speed is None else config.speed.token_dim

        def make_temporal(width: int) -> TemporalTransformer:
            return TemporalTransformer(
                width,
                config.temporal,
                num_heads=config.unet.num_heads,
                norm_num_groups=config.unet.norm_num_groups,
                speed_dim=speed_dim,
                ops=ops,
            )

        def make_audio(width: int, inner: int) -> AudioTransformer:
            return AudioTransformer(
                width,
                inner,
                num_heads=config.unet.num_heads,
                norm_num_groups=config.unet.norm_num_groups,
                context_dim=config.audio.token_dim,
                ops=ops,
            )

        temporal = config.temporal
        super().__init__(
            config.unet,
            has_reference_attention=config.has_reference_attention,
            context_dim=config.context_dim,
            make_audio=make_audio if config.has_audio_modules else None,
            make_temporal=None if temporal is None else make_temporal,
            temporal_levels=None if temporal is None else temporal.levels,
            ops=ops,
        )
        self.backbone_config = config
        self.audio_projection = self.speed_embedding = self.face_locator = None
        if config.audio is not None:
            self.audio_projection = audio_projection_of(config.audio, ops=ops)
        if config.speed is not None:
            self.speed_embedding = SpeedEmbedding(config.speed, ops=ops)
        if config.face_locator_channels is not None:
            self.face_locator = FaceLocator(
                config.face_locator_channels,
                config.unet.block_out_channels[0],
                in_channels=config.num_locator_inputs,
                ops=ops,
            )

    def share(
        self, *, reference: Features | None = None, region_BCHW: Tensor | None = None
    ) -> SharedConditions:
        """Project what all clips of a film read alike.

        Args:
            reference: ReferenceNet features of B images; None drops the condition.
            region_BCHW: mask (C = 1) or drawing (C = 3) of 0..1 at pixel size (8 times the
                latents); None adds nothing.
        """
        projected = None
        if reference is not None:
            projected = {
                name: attention.block.project_reference(reference[name])
                for name, attention in self.spatial_transformers()
            }
        region = None if region_BCHW is None else self._locate(region_BCHW)[:, None]
        return SharedConditions(reference=projected, region=region)

    def prepare(
        self,
        shared: SharedConditions,
        *,
        num_frames: int,
        like: Tensor,
        num_conditions: int = 1,
        reference_order_N: tuple[int, ...] | None = None,
        motion: Features | None = None,
        audio_windows_BFWLD: Tensor | None = None,
        identity_BTD: Tensor | None = None,
        area_levels: list[Tensor] | None = None,
        speed_windows_BFW: Tensor | None = None,
        region_BFCHW: Tensor | None = None,
        is_temporal: bool = True,
        is_reference_kept_B: Tensor | None = None,
        is_audio_kept_B: Tensor | None = None,
        weights: Weights = AS_TRAINED,
    ) -> Conditions:
        """Project all conditions of one clip.

        Args:
            shared: from `share`.
            num_frames: new frames in the clip, F.
            like: any tensor with the dtype and on the device of the latents.
            num_conditions: B.
            reference_order_N: which of the shared references each image reads; None: its own
                condition's.
            motion: features of B * M motion frames, a condition's frames in order. None stands
                for feature maps of zeros, as before the first clip.
            audio_windows_BFWLD: from `audio.rows`; None drops the condition.
            identity_BTD: from `ReferenceNet.identity_tokens`, where a checkpoint has them.
            area_levels: masks (R, h, w) of 0..1 of background, face and lips for every
                resolution, finest first. Audio modules need them; elsewhere they place
                `weights.areas`, and are not read where those are 1.
            speed_windows_BFW: head speed in degrees per second; None leaves the speed layers out.
            region_BFCHW: a drawing for every frame, instead of the shared one.
            is_temporal: False leaves the temporal modules out (single images).
            is_reference_kept_B, is_audio_kept_B: condition dropout by row, for training.

        Returns:
            Conditions for `forward`.
        """
        frame_counts = {
            "audio_windows_BFWLD": audio_windows_BFWLD,
            "speed_windows_BFW": speed_windows_BFW,
            "region_BFCHW": region_BFCHW,
        }
        for name, value in frame_counts.items():
            if value is not None and value.shape[:2] != (num_conditions, num_frames):
                raise ValueError(
                    f"{name} is {tuple(value.shape)}; expected {num_conditions} conditions of "
                    f"{num_frames} frames."
                )
        tokens_NTC = kept_N = None
        if audio_windows_BFWLD is not None:
            tokens_NTC = self.audio_projection(audio_windows_BFWLD).flatten(0, 1)
            if is_audio_kept_B is not None:
                kept_N = is_audio_kept_B.repeat_interleave(num_frames)
        region = shared.region
        if region_BFCHW is not None:
            region = self._locate(region_BFCHW.flatten(0, 1)).unflatten(0, (num_conditions, -1))
        audio = None
        if self.backbone_config.has_audio_modules:
            audio = self._prepare_audio(tokens_NTC, area_levels, weights)
        temporal = None
        if is_temporal and self.backbone_config.temporal is not None:
            temporal = self._prepare_temporal(
                motion,
                num_conditions=num_conditions,
                like=like,
                speed_windows_BFW=speed_windows_BFW,
                speed_weight=weights.speed,
            )
        return Conditions(
            num_frames=num_frames,
            spatial=self._prepare_spatial(
                shared,
                context_STC=identity_BTD if self.backbone_config.has_audio_modules else tokens_NTC,
                kept_S=kept_N,
                reference_order_N=reference_order_N,
                is_reference_kept_B=is_reference_kept_B,
                area_levels=area_levels,
                weights=weights,
            ),
            audio=audio,
            temporal=temporal,
            region=region,
        )

    def forward(self, latents_NCHW: Tensor, timestep: Tensor, conditions: Conditions) -> Tensor:
        """Predict for noisy latents (B * F, 4, H, W).

        Args:
            timestep: one value, or one per condition (B,), of 0..999.
        """
        num_images = latents_NCHW.shape[0]
        timesteps_N = timestep.reshape(-1)
        timesteps_N = timesteps_N.repeat_interleave(num_images // timesteps_N.shape[0])
        return self.run(latents_NCHW, timesteps_N, conditions)

    def _locate(self, pictures_NCHW: Tensor) -> Tensor:
        num_inputs = self.backbone_config.num_locator_inputs
        return self.face_locator(pictures_NCHW.expand(-1, num_inputs, -1, -1))

    def _prepare_spatial(
        self,
        shared: SharedConditions,
        *,
        context_STC: Tensor | None,
        kept_S: Tensor | None,
        reference_order_N: tuple[int, ...] | None,
        is_reference_kept_B: Tensor | None,
        area_levels: list[Tensor] | None,
        weights: Weights,
    ) -> dict[str, SpatialConditions]:
        config = self.backbone_config
        levels = self.levels()
        spatial = {}
        for name, attention in self.spatial_transformers():
            reference = None if shared.reference is None else shared.reference[name]
            if reference is not None and is_reference_kept_B is not None:
                reference = dropped_rows(reference, is_reference_kept_B)
            context = None
            if context_STC is not None:
                context = attention.block.attn2.project(context_STC)
                if kept_S is not None:
                    context = dropped_rows(context, kept_S)
            context_weight: float | Tensor = 1.0
            if not config.has_audio_modules:
                context_weight = config.audio_scale * weights.audio
                if weights.areas != AS_TRAINED.areas:
                    factor = _area_factor(area_levels[levels[name]], weights)
                    context_weight = context_weight * factor
            spatial[name] = SpatialConditions(
                reference=reference,
                context=context,
                reference_order_N=reference_order_N,
                reference_weight=config.reference_scale * weights.reference,
                context_weight=context_weight,
            )
        return spatial

    def _prepare_audio(
        self, tokens_NTC: Tensor | None, area_levels: list[Tensor], weights: Weights
    ) -> dict[str, AudioModuleConditions]:
        scale = self.backbone_config.audio_scale * weights.audio
        factors = tuple(scale * area for area in weights.areas)
        levels = self.levels()
        return {
            name: module.block.prepare(tokens_NTC, area_levels[levels[name]].flatten(1), factors)
            for name, module in self.audio_transformers()
        }

    def _prepare_temporal(
        self,
        motion: Features | None,
        *,
        num_conditions: int,
        like: Tensor,
        speed_windows_BFW: Tensor | None,
        speed_weight: float,
    ) -> dict[str, TemporalConditions]:
        tokens_BFD = None
        if speed_windows_BFW is not None:
            tokens_BFD = self.speed_embedding(speed_windows_BFW, dtype=like.dtype)
        num_motion_frames = self.backbone_config.temporal.num_motion_frames
        has_feature = {name for name, _ in self.spatial_transformers()}
        temporal = {}
        for name, transformer in self.temporal_transformers():
            motion_BMLC = None
            if name in has_feature and num_motion_frames:
                if motion is None:
                    # One pixel of zeros stands for all: every pixel of a zero map is alike.
                    width = transformer.norm.num_channels
                    motion_BMLC = like.new_zeros(1, num_motion_frames, 1, width)
                else:
                    motion_BMLC = motion[name].unflatten(0, (num_conditions, -1))
            temporal[name] = transformer.prepare(
                motion_BMLC, speed_tokens_BFD=tokens_BFD, speed_weight=speed_weight
            )
        return temporal


def _area_factor(areas_Rhw: Tensor, weights: Weights) -> Tensor:
    """How much the audio counts at every token, (1, h * w, 1): the areas' weights, blended.

    The areas overlap by roundings that Hallo's weights know and others do not.
    """
    factors_R = areas_Rhw.new_tensor(weights.areas)
    areas_RL = areas_Rhw.flatten(1)
    return ((areas_RL * factors_R[:, None]).sum(dim=0) / areas_RL.sum(dim=0))[None, :, None]
