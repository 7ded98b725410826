"""ReferenceNet: the twin UNet that reads the reference image and the motion frames.

It runs at timestep 0, once for the reference and once per clip for the motion frames, and returns
one feature per spatial transformer as a plain value (EMO, "ReferenceNet").

Where a checkpoint has cross-attention in its ReferenceNet, the context is either zeros (V-Express)
or the tokens of the person's identity (Hallo), which the backbone reads as well.

Letters: N images, C channels, H and W rows and columns, B conditions, E embedding width, T tokens,
D token width.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn

from ..config import ReferenceNetConfig
from .attention import SpatialConditions
from .identity import IdentityProjection
from .unet import Conditions, Features, UNet


@dataclass(frozen=True)
class ReferenceReading:
    """A portrait as the backbone reads it."""

    features: Features
    """One row, or two where contexts alternate: as of an unknown person, and as of this one."""
    latents_1CHW: Tensor
    """Of the portrait, as the networks see them."""
    identity_2TD: Tensor | None
    """Contexts of an unknown person and of this one."""


@dataclass(frozen=True)
class MotionReading:
    """The frames before a clip as the backbone reads them, a row each.

    `unknown` is for guidance's unconditional half; the same values wherever it does not differ.
    """

    known: Features
    unknown: Features


class ReferenceNet(UNet):
    """Latents of clean images -> features by name of the transformer."""

    def __init__(self, config: ReferenceNetConfig, *, ops: ModuleType = nn) -> None:
        super().__init__(
            config.unet,
            has_reference_attention=False,
            context_dim=config.context_dim,
            has_output=False,
            is_feature_after_attention=config.is_feature_after_attention,
            ops=ops,
        )
        self.is_context_alternating = config.is_context_alternating
        self.identity_projection = None
        if config.identity is not None:
            self.identity_projection = IdentityProjection(config.identity, ops=ops)

    def forward(self, latents_NCHW: Tensor, *, context_NTD: Tensor | None = None) -> Features:
        """Return {name: (N, H * W, C)}.

        Args:
            context_NTD: identity tokens, one set per image; None is a context of zeros.
        """
        features: Features = {}
        timesteps_N = latents_NCHW.new_zeros(latents_NCHW.shape[0])
        spatial = {}
        if self.has_context:
            for name, attention in self.spatial_transformers():
                context = None
                if context_NTD is not None:
                    context = attention.block.attn2.project(context_NTD)
                spatial[name] = SpatialConditions(reference=None, context=context)
        conditions = Conditions(
            num_frames=1, spatial=spatial, audio=None, temporal=None, region=None
        )
        self.run(latents_NCHW, timesteps_N, conditions, features=features)
        return features

    def identity_tokens(self, embedding_E: Tensor | None, *, like: Tensor) -> Tensor | None:
        """Return the contexts (2, T, D) of an unknown person and of this one.

        Args:
            embedding_E: of the face, not normalised; None is an unknown person in both rows.

        None where the checkpoint knows no identity.
        """
        if self.identity_projection is None:
            return None
        unknown_E = like.new_zeros(self.identity_projection.config.embedding_dim)
        known_E = unknown_E if embedding_E is None else embedding_E.to(like)
        return self.identity_projection(torch.stack([unknown_E, known_E]))

    def read_reference(
        self, latents_1CHW: Tensor, *, embedding_E: Tensor | None = None
    ) -> ReferenceReading:
        """Read a portrait.

        Args:
            embedding_E: of its face, where the checkpoint knows identities; see `identity_tokens`.
        """
        identity_2TD = self.identity_tokens(embedding_E, like=latents_1CHW)
        context = None if identity_2TD is None else identity_2TD[1:]
        latents = latents_1CHW
        if self.is_context_alternating:
            context, latents = identity_2TD, latents.expand(2, -1, -1, -1)
        return ReferenceReading(
            features=self(latents, context_NTD=context),
            latents_1CHW=latents_1CHW,
            identity_2TD=identity_2TD,
        )

    def read_motion(
        self, latents_MCHW: Tensor, *, identity_2TD: Tensor | None, is_unknown_read: bool = True
    ) -> MotionReading:
        """Read the frames before a clip, oldest first.

        Args:
            is_unknown_read: False where there is no guidance, and so no unconditional half.
        """
        num_frames = len(latents_MCHW)
        if not self.is_context_alternating:
            context = None if identity_2TD is None else identity_2TD[1:].expand(num_frames, -1, -1)
            features = self(latents_MCHW, context_NTD=context)
            return MotionReading(known=features, unknown=features)
        # Rows of upstream's batch, [reference, motion frames] of each half, and the contexts that
        # they get by being tiled: [unknown, known, unknown, ...].
        readings = [
            self(
                latents_MCHW,
                context_NTD=identity_2TD[
                    [(half * (1 + num_frames) + 1 + place) % 2 for place in range(num_frames)]
                ],
            )
            for half in ((0, 1) if is_unknown_read else (1,))
        ]
        return MotionReading(known=readings[-1], unknown=readings[0])
