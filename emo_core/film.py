"""All conditions of a film, and the part of them that one sampling call reads.

Command line and nodes gather a `Film`; a `Clip` is some of its frames under all conditions, or
without those that guidance drops, and projects itself for a backbone.

Letters: R rows of sound, L encoder layers, D feature width, F frames, H and W rows and columns of
pixels, C channels, h and w of latents, T identity tokens, M motion frames, W window in
frames.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .audio.rows import cut_windows
from .audio.windows import windows_around_frames
from .config import PIXELS_PER_LATENT, ModelConfig
from .errors import InputError
from .face.areas import area_levels, level_sizes
from .face.key_points import draw_key_points
from .face.placement import FacePlacement
from .files.on_disk import TensorOnDisk
from .models.backbone import AS_TRAINED, Backbone, SharedConditions, Weights
from .models.reference import MotionReading, ReferenceReading
from .models.unet import Conditions, Features
from .sampling.anchor import Anchor


@dataclass(frozen=True, kw_only=True)
class Film:
    """Everything that a whole film is conditioned on."""

    config: ModelConfig
    width: int
    """Pixels."""
    height: int
    num_frames: int
    """That the user gets."""
    num_sampled_frames: int
    """That are made where windows cover all frames together; see `audio.timing.film_length`."""
    fps: float
    reference: ReferenceReading
    rows_RLD: Tensor
    """From `audio.rows.encode_rows`."""
    rows_file: TensorOnDisk | None = None
    """Where the rows lie, if not in memory."""
    speed_deg_s_F: Tensor | None
    """Of the head; None leaves the speed layers out."""
    face: FacePlacement
    weights: Weights = AS_TRAINED
    is_led: bool = True
    """Whether the last frames of a clip lead the next; otherwise every clip begins like the first,
    to measure what the motion frames are for."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of one frame's latents."""
        return (
            self.config.backbone.unet.latent_channels,
            self.height // PIXELS_PER_LATENT,
            self.width // PIXELS_PER_LATENT,
        )

    @property
    def num_motion_frames(self) -> int:
        """Frames before a clip that lead it; 0 where none do."""
        temporal = self.config.backbone.temporal
        return 0 if temporal is None else temporal.num_motion_frames

    @property
    def num_carried_frames(self) -> int:
        """Frames that one clip hands to the next."""
        return self.num_motion_frames if self.is_led else 0

    @property
    def first_motion(self) -> Tensor | None:
        """Latents (M, C, h, w) that lead the first clip; None are maps of zeros, or none at all."""
        if not self.config.sampling.motion.is_first_reference:
            return None
        return self.reference.latents_1CHW.expand(self.num_motion_frames, -1, -1, -1)

    def anchor(self, *, every: int, share: float) -> Anchor | None:
        """Bring the film back to its reference every few clips; 0 never does.

        Raises:
            InputError: nothing leads its clips, or a share outside 0 to 1.
        """
        if every == 0:
            return None
        if not self.num_motion_frames:
            raise InputError(
                f"anchor every {every} clips: checkpoints of family {self.config.family} sample "
                "all frames together, so none leads another. Leave the anchor out."
            )
        return Anchor(every=every, share=share, reference=self.reference.latents_1CHW)

    @cached_property
    def area_levels(self) -> list[Tensor] | None:
        """Masks of background, face and lips for every resolution, where they are read."""
        backbone = self.config.backbone
        if not backbone.has_audio_modules and self.weights.areas == AS_TRAINED.areas:
            return None
        num_levels = len(backbone.unet.block_out_channels)
        sizes = level_sizes(self.height, self.width, num_levels=num_levels)
        return area_levels(self.face.area_masks, sizes=sizes)

    @property
    def has_moving_key_points(self) -> bool:
        """Whether the face locator sees another drawing in every frame."""
        is_drawn = self.config.backbone.face_locator_input == "key_points"
        return is_drawn and len(self.face.key_points_F32) > 1

    def still_region(self) -> Tensor | None:
        """What the face locator sees in every frame, (1, C, H, W) of 0..1."""
        if self.config.backbone.face_locator_channels is None or self.has_moving_key_points:
            return None
        kind = self.config.backbone.face_locator_input
        if kind == "key_points":
            return self._drawn(self.face.key_points_F32)
        return (self.face.box_HW if kind == "mask_rgb" else self.face.mask_HW)[None, None]

    def moving_region(self, frames: tuple[int, ...]) -> Tensor | None:
        """What the face locator sees in some frames, (1, F, C, H, W) of 0..1."""
        if not self.has_moving_key_points:
            return None
        last = len(self.face.key_points_F32) - 1
        return self._drawn(self.face.key_points_F32[[min(f, last) for f in frames]])[None]

    def audio_windows(self, frames: tuple[int, ...]) -> Tensor:
        """Windows of rows (F, W, L, D) round some frames, as `audio.rows.cut_windows`."""
        windows = cut_windows(
            self.rows_RLD, torch.tensor(frames), audio=self.config.backbone.audio, fps=self.fps
        )
        if self.rows_file is not None:
            self.rows_file.release()
        return windows

    def speed_windows(self, frames: tuple[int, ...]) -> Tensor | None:
        """Head speeds (F, W) round some frames, as the speed layers are told them; past the film's
        end the last is held."""
        if self.speed_deg_s_F is None:
            return None
        last = len(self.speed_deg_s_F) - 1
        config = self.config.backbone.speed
        told_F = config.gain * self.speed_deg_s_F
        return windows_around_frames(
            told_F.clamp(max=config.bucket_centers_deg_s[-1]),
            margin=config.window_margin,
            frames=torch.tensor(frames).clamp(max=last),
        )

    def _drawn(self, key_points_F32: Tensor) -> Tensor:
        pictures = [
            draw_key_points(points, width=self.width, height=self.height)
            for points in key_points_F32
        ]
        return torch.stack(pictures).movedim(-1, 1).float() / 255.0

    def clip(
        self,
        frames: range,
        *,
        motion: MotionReading | None,
        windows_motion: MotionReading | None = None,
    ) -> Clip:
        """Some frames in a row, led by motion frames.

        Args:
            frames: past the film's end its last sound and speed are held.
            motion: None before the film's first frame.
            windows_motion: leads windows of the clip that begin later; None leads them by nothing.
        """
        return Clip(film=self, frames=tuple(frames), motion=motion, windows_motion=windows_motion)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The frames of one sampling call, or of one window of it."""

    film: Film
    frames: tuple[int, ...]
    """Their numbers in the film."""
    motion: MotionReading | None
    windows_motion: MotionReading | None = None
    is_conditional: bool = True

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    def unconditional(self) -> Clip:
        """Without what guidance drops."""
        return dataclasses.replace(self, is_conditional=False)

    def select(self, places: list[int]) -> Clip:
        """Keep the frames at some places of the clip. Only from its start on its motion leads."""
        return dataclasses.replace(
            self,
            frames=tuple(self.frames[place] for place in places),
            motion=self.motion if places[0] == 0 else self.windows_motion,
        )

    def share(self, backbone: Backbone, *, like: Tensor) -> SharedConditions:
        """Project what all clips of the film read alike, to where and what `like` is."""
        region = self.film.still_region()
        if not self.is_conditional and self.film.config.backbone.is_region_guided:
            region = None
        return backbone.share(
            reference=_there(self._reference, like),
            region_BCHW=None if region is None else region.to(like),
        )

    def prepare(self, backbone: Backbone, shared: SharedConditions, *, like: Tensor) -> Conditions:
        """Project everything else."""
        film, config = self.film, self.film.config.backbone
        windows = speeds = identity = region = motion = None
        if self.is_conditional:
            windows = film.audio_windows(self.frames)[None].to(like)
        if self.is_conditional or not config.is_speed_guided:
            speeds_FW = film.speed_windows(self.frames)
            speeds = None if speeds_FW is None else speeds_FW[None].to(like.device)
        if film.reference.identity_2TD is not None:
            row = int(self.is_conditional)
            identity = film.reference.identity_2TD[row : row + 1].to(like)
        if self.is_conditional or not config.is_region_guided:
            region = film.moving_region(self.frames)
        if self.motion is not None:
            motion = self.motion.known if self.is_conditional else self.motion.unknown
        levels = film.area_levels
        return backbone.prepare(
            shared,
            num_frames=self.num_frames,
            like=like,
            reference_order_N=self._reference_order(),
            motion=_there(motion, like),
            audio_windows_BFWLD=windows,
            identity_BTD=identity,
            area_levels=None if levels is None else [level.to(like) for level in levels],
            speed_windows_BFW=speeds,
            region_BFCHW=None if region is None else region.to(like),
            weights=film.weights,
        )

    @property
    def _reference(self) -> Features | None:
        return self.film.reference.features if self.is_conditional else None

    def _reference_order(self) -> tuple[int, ...] | None:
        """Hallo: frames read the reference as of an unknown person and of this one in turn.

        Upstream's batch has the unconditional half in front, so the turn begins at F.
        """
        if not self.film.config.reference_net.is_context_alternating:
            return None
        return tuple((self.num_frames + place) % 2 for place in range(self.num_frames))


def _there(features: Features | None, like: Tensor) -> Features | None:
    return None if features is None else {name: value.to(like) for name, value in features.items()}
