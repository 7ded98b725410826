"""The UNet skeleton of backbone and ReferenceNet.

Per layer: residual block -> [spatial transformer] -> [audio module] -> [temporal module]. With the
extras off it equals diffusers' `UNet2DConditionModel` as configured for Stable Diffusion 1.5, and
its parameters bear the same names.

What a transformer or temporal module reads besides the frames is looked up in `Conditions` by the
name of the transformer, such as `down_blocks.0.attentions.1`.

Letters: N images (B conditions times F frames), C channels, H and W rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import UNetConfig
from .attention import SpatialConditions, SpatialTransformer
from .audio_modules import AudioModuleConditions, AudioTransformer
from .layers import RESNET_EPS, Downsample, ResnetBlock, TimeEmbedding, Upsample
from .temporal import TemporalConditions, TemporalModule, TemporalTransformer

MakeAttention = Callable[[int], SpatialTransformer]
MakeAudio = Callable[[int, int], AudioTransformer]
"""(width, inner width) -> module."""
MakeTemporal = Callable[[int], TemporalTransformer]
Features = dict[str, Tensor]
"""Name of a spatial transformer -> its feature (N, L, C)."""


@dataclass(frozen=True)
class Conditions:
    """Everything a UNet reads besides latents and timestep. Prepared once per clip.

    `spatial` is empty for a network without reference- and cross-attention, `audio` None for one
    without audio modules. `temporal` is None when the temporal modules are to be left out (single
    images). `region` (B, 1 or F, C, H, W) is added after `conv_in`.
    """

    num_frames: int
    spatial: dict[str, SpatialConditions]
    audio: dict[str, AudioModuleConditions] | None
    temporal: dict[str, TemporalConditions] | None
    region: Tensor | None

    def to(self, device: torch.device) -> Conditions:
        """Move everything to a device."""

        def moved(parts: dict | None) -> dict | None:
            return None if parts is None else {k: value.to(device) for k, value in parts.items()}

        return Conditions(
            num_frames=self.num_frames,
            spatial=moved(self.spatial),
            audio=moved(self.audio),
            temporal=moved(self.temporal),
            region=None if self.region is None else self.region.to(device),
        )


@dataclass(frozen=True, kw_only=True)
class StackParts:
    """What the layers of one block are made of."""

    config: UNetConfig
    name: str
    """Of the block, as in the state dict."""
    level: int
    """Of its resolution, 0 is the finest."""
    make_attention: MakeAttention | None
    make_audio: MakeAudio | None
    make_temporal: MakeTemporal | None
    ops: ModuleType

    def resnet(self, in_width: int, out_width: int) -> ResnetBlock:
        return ResnetBlock(
            in_width,
            out_width,
            time_dim=4 * self.config.block_out_channels[0],
            norm_num_groups=self.config.norm_num_groups,
            ops=self.ops,
        )


class LayerStack(nn.Module):
    """Residual blocks, each followed by its transformer and other modules where there are any."""

    def __init__(
        self, widths: list[tuple[int, int]], parts: StackParts, *, audio_widths: list[int]
    ) -> None:
        super().__init__()
        self.name = parts.name
        self.level = parts.level
        self.resnets = nn.ModuleList([parts.resnet(*pair) for pair in widths])
        self.attentions = self.audio_modules = self.motion_modules = None
        if parts.make_attention is not None:
            self.attentions = nn.ModuleList([parts.make_attention(width) for _, width in widths])
        if parts.make_attention is not None and parts.make_audio is not None:
            self.audio_modules = nn.ModuleList(
                [
                    parts.make_audio(width, inner)
                    for (_, width), inner in zip(widths, audio_widths, strict=True)
                ]
            )
        if parts.make_temporal is not None:
            self.motion_modules = nn.ModuleList(
                [TemporalModule(parts.make_temporal(width)) for _, width in widths]
            )

    def refine(
        self, index: int, hidden_NCHW: Tensor, conditions: Conditions, features: Features | None
    ) -> Tensor:
        """Run the transformer, the audio module and the temporal module of layer `index`."""
        name = f"{self.name}.attentions.{index}"
        if self.attentions is not None:
            hidden_NCHW, feature = self.attentions[index](hidden_NCHW, conditions.spatial.get(name))
            if features is not None:
                features[name] = feature
        if self.audio_modules is not None and conditions.audio is not None:
            hidden_NCHW = self.audio_modules[index](hidden_NCHW, conditions.audio[name])
        if self.motion_modules is not None and conditions.temporal is not None:
            hidden_NCHW = self.motion_modules[index].temporal_transformer(
                hidden_NCHW, conditions.temporal[name], num_frames=conditions.num_frames
            )
        return hidden_NCHW


class DownBlock(LayerStack):
    """The layers of one resolution on the way down, then half the size."""

    def __init__(
        self, widths: list[tuple[int, int]], parts: StackParts, *, has_downsampler: bool
    ) -> None:
        super().__init__(widths, parts, audio_widths=[before for before, _ in widths])
        self.downsamplers = None
        if has_downsampler:
            self.downsamplers = nn.ModuleList([Downsample(widths[-1][1], ops=parts.ops)])

    def forward(
        self,
        hidden: Tensor,
        time_embedding: Tensor,
        conditions: Conditions,
        features: Features | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the hidden state and the skips for the way up."""
        skips = []
        for index, resnet in enumerate(self.resnets):
            hidden = self.refine(index, resnet(hidden, time_embedding), conditions, features)
            skips.append(hidden)
        if self.downsamplers is not None:
            hidden = self.downsamplers[0](hidden)
            skips.append(hidden)
        return hidden, skips


class MidBlock(LayerStack):
    """Residual block, transformer, temporal module, residual block."""

    def __init__(self, width: int, parts: StackParts) -> None:
        super().__init__([(width, width)], parts, audio_widths=[width])
        self.resnets.append(parts.resnet(width, width))

    def forward(
        self,
        hidden: Tensor,
        time_embedding: Tensor,
        conditions: Conditions,
        features: Features | None,
    ) -> Tensor:
        hidden = self.refine(0, self.resnets[0](hidden, time_embedding), conditions, features)
        return self.resnets[1](hidden, time_embedding)


class UpBlock(LayerStack):
    """The layers of one resolution on the way up, each joined by a skip, then twice the size."""

    def __init__(
        self,
        widths: list[tuple[int, int]],
        parts: StackParts,
        *,
        skip_width: int,
        has_upsampler: bool,
    ) -> None:
        super().__init__(widths, parts, audio_widths=[skip_width] * len(widths))
        self.upsamplers = None
        if has_upsampler:
            self.upsamplers = nn.ModuleList([Upsample(widths[-1][1], ops=parts.ops)])

    def forward(
        self,
        hidden: Tensor,
        skips: list[Tensor],
        time_embedding: Tensor,
        conditions: Conditions,
        features: Features | None,
    ) -> Tensor:
        """Take this block's skips off the end of `skips`."""
        for index, resnet in enumerate(self.resnets):
            joined = torch.cat([hidden, skips.pop()], dim=1)
            hidden = self.refine(index, resnet(joined, time_embedding), conditions, features)
        if self.upsamplers is not None:
            hidden = self.upsamplers[0](hidden, skips[-1].shape[-2:])
        return hidden


class UNet(nn.Module):
    """Latents (N, 4, H, W) -> prediction (N, 4, H, W), or features only where it has no output."""

    def __init__(
        self,
        config: UNetConfig,
        *,
        has_reference_attention: bool,
        context_dim: int | None,
        make_audio: MakeAudio | None = None,
        make_temporal: MakeTemporal | None = None,
        temporal_levels: tuple[bool, ...] | None = None,
        has_output: bool = True,
        is_feature_after_attention: bool = False,
        ops: ModuleType = nn,
    ) -> None:
        super().__init__()
        self.config = config
        self.has_context = context_dim is not None
        widths = config.block_out_channels
        last = len(widths) - 1

        def make_attention(width: int) -> SpatialTransformer:
            return SpatialTransformer(
                width,
                num_heads=config.num_heads,
                norm_num_groups=config.norm_num_groups,
                has_reference_attention=has_reference_attention,
                context_dim=context_dim,
                is_feature_after_attention=is_feature_after_attention,
                ops=ops,
            )

        def parts(name: str, *, level: int, is_middle: bool = False) -> StackParts:
            # The middle always has everything, as in Stable Diffusion and AnimateDiff.
            has_attention = is_middle or config.attention_levels[level]
            has_temporal = is_middle or temporal_levels is None or temporal_levels[level]
            return StackParts(
                config=config,
                name=name,
                level=level,
                make_attention=make_attention if has_attention else None,
                make_audio=make_audio,
                make_temporal=make_temporal if has_temporal else None,
                ops=ops,
            )

        self.conv_in = ops.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0], ops=ops)

        self.down_blocks = nn.ModuleList()
        skip_widths = [widths[0]]
        width_before = widths[0]
        for level, width in enumerate(widths):
            layer_widths = [(width_before, width)] + [(width, width)] * (
                config.layers_per_block - 1
            )
            block_parts = parts(f"down_blocks.{level}", level=level)
            self.down_blocks.append(
                DownBlock(layer_widths, block_parts, has_downsampler=level < last)
            )
            skip_widths += [width] * (config.layers_per_block + (level < last))
            width_before = width

        self.mid_block = MidBlock(widths[-1], parts("mid_block", level=last, is_middle=True))

        self.up_blocks = nn.ModuleList()
        for index, level in enumerate(reversed(range(len(widths)))):
            layer_widths = []
            for _ in range(config.layers_per_block + 1):
                layer_widths.append((width_before + skip_widths.pop(), widths[level]))
                width_before = widths[level]
            block_parts = parts(f"up_blocks.{index}", level=level)
            self.up_blocks.append(
                UpBlock(
                    layer_widths,
                    block_parts,
                    # diffusers' `in_channels` of an up block: the width one level up.
                    skip_width=widths[max(level - 1, 0)],
                    has_upsampler=level > 0,
                )
            )

        self.conv_norm_out = self.conv_out = None
        if has_output:
            self.conv_norm_out = ops.GroupNorm(config.norm_num_groups, widths[0], eps=RESNET_EPS)
            self.conv_out = ops.Conv2d(widths[0], config.latent_channels, 3, padding=1)

    def stacks(self) -> Iterator[LayerStack]:
        """Every block, in the order in which it runs."""
        yield from self.down_blocks
        yield self.mid_block
        yield from self.up_blocks

    def spatial_transformers(self) -> Iterator[tuple[str, SpatialTransformer]]:
        """Every spatial transformer with its name."""
        for stack in self.stacks():
            for index, attention in enumerate(stack.attentions or ()):
                yield f"{stack.name}.attentions.{index}", attention

    def levels(self) -> dict[str, int]:
        """Name of every spatial transformer -> its level, 0 is the finest."""
        return {
            f"{stack.name}.attentions.{index}": stack.level
            for stack in self.stacks()
            for index, _ in enumerate(stack.attentions or ())
        }

    def audio_transformers(self) -> Iterator[tuple[str, AudioTransformer]]:
        """Every audio module with the name of the spatial transformer before it."""
        for stack in self.stacks():
            for index, module in enumerate(stack.audio_modules or ()):
                yield f"{stack.name}.attentions.{index}", module

    def temporal_transformers(self) -> Iterator[tuple[str, TemporalTransformer]]:
        """Every temporal transformer with the name of the spatial one whose place it shares."""
        for stack in self.stacks():
            for index, module in enumerate(stack.motion_modules or ()):
                yield f"{stack.name}.attentions.{index}", module.temporal_transformer

    def run(
        self,
        latents_NCHW: Tensor,
        timesteps_N: Tensor,
        conditions: Conditions,
        *,
        features: Features | None = None,
    ) -> Tensor:
        """Run all blocks; fill `features` where it is given.

        Returns:
            The prediction, or the last hidden state of a network without an output.
        """
        hidden = self.conv_in(latents_NCHW)
        if conditions.region is not None:
            frames_BFCHW = hidden.unflatten(0, (-1, conditions.num_frames))
            hidden = (frames_BFCHW + conditions.region).flatten(0, 1)
        time_embedding = self.time_embedding(timesteps_N, dtype=hidden.dtype)
        skips = [hidden]
        for block in self.down_blocks:
            hidden, block_skips = block(hidden, time_embedding, conditions, features)
            skips += block_skips
        hidden = self.mid_block(hidden, time_embedding, conditions, features)
        for block in self.up_blocks:
            hidden = block(hidden, skips, time_embedding, conditions, features)
        if self.conv_out is None:
            return hidden
        return self.conv_out(F.silu(self.conv_norm_out(hidden)))
