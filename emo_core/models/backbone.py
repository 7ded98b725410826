"""The backbone: a UNet that denoises the frames of one clip under all conditions.

`prepare` projects, once per clip, everything that does not depend on the timestep; a step only
reads it. A dropped condition (the unconditional half of guidance) costs nothing: the attention to
it is a known constant.

Source: EMO (arXiv 2402.17485), "Network Pipelines".

Letters: B conditions, F new frames, M motion frames, N images (B * F, frame after frame within a
condition), W window in frames, L encoder layers, D feature width, C channels.
"""

from __future__ import annotations

from types import ModuleType

from torch import Tensor, nn

from ..config import BackboneConfig
from .attention import KeyValue, SpatialConditions, dropped_rows
from .audio import AudioProjection
from .face_locator import FaceLocator
from .speed import SpeedEmbedding
from .temporal import TemporalConditions, TemporalTransformer
from .unet import Conditions, Features, UNet


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

        super().__init__(
            config.unet,
            has_reference_attention=config.has_reference_attention,
            context_dim=config.context_dim,
            make_temporal=None if config.temporal is None else make_temporal,
            ops=ops,
        )
        self.backbone_config = config
        self.audio_projection = self.speed_embedding = self.face_locator = None
        if config.audio is not None:
            self.audio_projection = AudioProjection(config.audio, ops=ops)
        if config.speed is not None:
            self.speed_embedding = SpeedEmbedding(config.speed, ops=ops)
        if config.face_locator_channels is not None:
            self.face_locator = FaceLocator(
                config.face_locator_channels, config.unet.block_out_channels[0], ops=ops
            )

    def prepare(
        self,
        *,
        num_frames: int,
        like: Tensor,
        num_conditions: int = 1,
        reference: Features | None = None,
        motion: Features | None = None,
        audio_windows_BFWLD: Tensor | None = None,
        speed_windows_BFW: Tensor | None = None,
        region_B1HW: Tensor | None = None,
        is_temporal: bool = True,
        is_reference_kept_B: Tensor | None = None,
        is_audio_kept_B: Tensor | None = None,
        reference_weight: float = 1.0,
        audio_weight: float = 1.0,
        speed_weight: float = 1.0,
    ) -> Conditions:
        """Project all conditions of one clip.

        Args:
            num_frames: new frames in the clip, F.
            like: any tensor with the dtype and on the device of the latents.
            num_conditions: B.
            reference: ReferenceNet features of B images; None drops the condition.
            motion: features of B * M motion frames, a condition's frames in order. None stands
                for feature maps of zeros, as before the first clip.
            audio_windows_BFWLD: from `audio.windows`; None drops the condition.
            speed_windows_BFW: head speed in degrees per second; None leaves the speed layers out.
            region_B1HW: mask of 0..1 at pixel size (8 times the latents); None adds nothing.
            is_temporal: False leaves the temporal modules out (single images).
            is_reference_kept_B, is_audio_kept_B: condition dropout by row, for training.
            reference_weight, audio_weight, speed_weight: factors on what each attention adds.

        Returns:
            Conditions for `forward`.
        """
        frame_counts = {
            "audio_windows_BFWLD": audio_windows_BFWLD,
            "speed_windows_BFW": speed_windows_BFW,
        }
        for name, value in frame_counts.items():
            if value is not None and value.shape[:2] != (num_conditions, num_frames):
                raise ValueError(
                    f"{name} is {tuple(value.shape)}; expected {num_conditions} conditions of "
                    f"{num_frames} frames."
                )
        spatial = self._prepare_spatial(
            reference=reference,
            audio_windows_BFWLD=audio_windows_BFWLD,
            is_reference_kept_B=is_reference_kept_B,
            is_audio_kept_B=is_audio_kept_B,
            reference_weight=reference_weight,
            audio_weight=audio_weight,
        )
        temporal = None
        if is_temporal and self.backbone_config.temporal is not None:
            temporal = self._prepare_temporal(
                motion,
                num_conditions=num_conditions,
                like=like,
                speed_windows_BFW=speed_windows_BFW,
                speed_weight=speed_weight,
            )
        region = None
        if region_B1HW is not None:
            region = self.face_locator(region_B1HW)[:, None]
        return Conditions(num_frames=num_frames, spatial=spatial, temporal=temporal, region=region)

    def forward(self, latents_NCHW: Tensor, timestep: Tensor, conditions: Conditions) -> Tensor:
        """Predict for noisy latents (B * F, 4, H, W).

        Args:
            timestep: one value, or one per condition (B,), of 0..999.
        """
        num_images = latents_NCHW.shape[0]
        timesteps_N = timestep.reshape(-1)
        timesteps_N = timesteps_N.repeat_interleave(num_images // timesteps_N.shape[0])
        return self.run(latents_NCHW, timesteps_N, conditions)

    def _prepare_spatial(
        self,
        *,
        reference: Features | None,
        audio_windows_BFWLD: Tensor | None,
        is_reference_kept_B: Tensor | None,
        is_audio_kept_B: Tensor | None,
        reference_weight: float,
        audio_weight: float,
    ) -> dict[str, SpatialConditions]:
        tokens_NTC = None
        if audio_windows_BFWLD is not None:
            tokens_NTC = self.audio_projection(audio_windows_BFWLD).flatten(0, 1)
        spatial = {}
        for name, attention in self.spatial_transformers():
            block = attention.block
            reference_kv: KeyValue | None = None
            if reference is not None:
                reference_kv = block.attn1_5.project(reference[name])
                if is_reference_kept_B is not None:
                    reference_kv = dropped_rows(reference_kv, is_reference_kept_B)
            context_kv: KeyValue | None = None
            if tokens_NTC is not None:
                context_kv = block.attn2.project(tokens_NTC)
                if is_audio_kept_B is not None:
                    num_frames = audio_windows_BFWLD.shape[1]
                    context_kv = dropped_rows(
                        context_kv, is_audio_kept_B.repeat_interleave(num_frames)
                    )
            spatial[name] = SpatialConditions(
                reference=reference_kv,
                context=context_kv,
                reference_weight=reference_weight,
                context_weight=audio_weight,
            )
        return spatial

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
