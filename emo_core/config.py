"""What a checkpoint is, as data: frozen dataclasses that travel in its safetensors metadata.

Defaults are the published full size (EMO, arXiv 2402.17485, on Stable Diffusion 1.5). What one
family of checkpoints does differently from another is a field here, never an `if family` in a
forward. A field exists only if a checkpoint that can be loaded uses it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import InputError

PIXELS_PER_LATENT = 8
"""Rows and columns of a picture that one latent covers, with every VAE of the family."""


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """The convolutional skeleton that backbone and ReferenceNet share (diffusers' SD 1.5 UNet)."""

    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    """Width of each resolution, finest first."""
    attention_levels: tuple[bool, ...] = (True, True, True, False)
    """Which resolutions have spatial transformers."""
    layers_per_block: int = 2
    num_heads: int = 8
    norm_num_groups: int = 32

    def __post_init__(self) -> None:
        if len(self.attention_levels) != len(self.block_out_channels):
            raise InputError(
                f"unet config: {len(self.attention_levels)} attention_levels for "
                f"{len(self.block_out_channels)} block_out_channels; give one per resolution."
            )
        for width in self.block_out_channels:
            if width % self.norm_num_groups or width % self.num_heads:
                raise InputError(
                    f"unet config: width {width} is not divisible by norm_num_groups "
                    f"{self.norm_num_groups} and num_heads {self.num_heads}."
                )


@dataclass(frozen=True, kw_only=True)
class IdentityConfig:
    """A face recogniser's embedding becomes tokens that cross-attention reads (Hallo)."""

    embedding_dim: int = 512
    """Of ArcFace, not normalised."""
    num_tokens: int = 4
    token_dim: int = 768


@dataclass(frozen=True, kw_only=True)
class ReferenceNetConfig:
    """The twin UNet that reads the reference image and the motion frames."""

    unet: UNetConfig = field(default_factory=UNetConfig)
    context_dim: int | None = None
    """Width of the cross-attention context; None where the net has no cross-attention."""
    is_feature_after_attention: bool = False
    """Whether a block's feature is the input of its cross-attention, after the norm (V-Express),
    instead of the input of its self-attention."""
    identity: IdentityConfig | None = None
    """Where not None, its tokens are the context of both networks; else the context is zeros."""
    is_context_alternating: bool = False
    """Hallo's upstream tiles its two contexts, of an unknown person and of this one, over rows
    that are ordered otherwise. Motion frames are therefore read under the two in turn, and so are
    the frames' references. Its weights were trained and are run that way."""


@dataclass(frozen=True, kw_only=True)
class PerceiverConfig:
    """Tokens that gather what they need from the rows of a window (V-Express)."""

    num_layers: int = 4
    num_heads: int = 12
    head_dim: int = 64
    ff_mult: int = 4


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """From the encoder's layers to tokens, one set per video frame.

    A row is what the encoder says of one moment; `timing` says which moments the rows of a frame
    are. A frame's window is its own rows and those of `window_margin` frames on each side.
    """

    encoder: str = "wav2vec2"
    """Or "whisper"; not read where the checkpoint brings its own front end."""
    timing: str = "frame_centers"
    """One of `AUDIO_TIMINGS`."""
    num_layers: int = 12
    """Hidden states that are used side by side, the last ones of the encoder."""
    feature_dim: int = 768
    rows_per_frame: int = 1
    window_margin: int = 2
    """Video frames heard on each side of a frame."""
    is_padded_by_zeros: bool = False
    """What stands past both ends of the sound: zeros, or the edge row repeated."""
    projection: str | None = "mlp"
    """"mlp", "perceiver", or None: every row's every layer is a token."""
    hidden_dim: int = 512
    """Inside the mlp."""
    perceiver: PerceiverConfig | None = None
    num_tokens: int = 32
    token_dim: int = 768

    def __post_init__(self) -> None:
        if self.timing not in AUDIO_TIMINGS:
            raise InputError(
                f"audio config: timing {self.timing!r} is unknown; expected one of "
                f"{', '.join(AUDIO_TIMINGS)}."
            )
        if self.projection not in ("mlp", "perceiver", None):
            raise InputError(
                f"audio config: projection {self.projection!r} is unknown; expected mlp, perceiver "
                "or none."
            )
        if (self.projection == "perceiver") != (self.perceiver is not None):
            raise InputError("audio config: a perceiver's sizes go with projection 'perceiver'.")

    @property
    def window(self) -> int:
        """Rows in one window."""
        return (2 * self.window_margin + 1) * self.rows_per_frame


AUDIO_TIMINGS = {
    "frame_centers": "the encoder's output, interpolated at the centre of every frame (emo)",
    "before_encoder": "one row per frame, made by interpolating wav2vec2's convolution features "
    "before its transformer (Hallo)",
    "after_encoder": "rows_per_frame rows per frame, made by interpolating the output (V-Express)",
    "encoder_steps": "the encoder's own steps of 20 ms nearest to a frame (EchoMimic)",
}


@dataclass(frozen=True, kw_only=True)
class FrontEndConfig:
    """A checkpoint's own audio encoder: log-mel, then dilated convolutions at 50 Hz."""

    num_mels: int = 64
    width: int = 128
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1, 2)
    """One residual layer each."""
    num_returned_layers: int = 4
    """The last layers, whose outputs are the features."""


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """Head-speed layers (EMO, "Speed Layers")."""

    bucket_centers_deg_s: tuple[float, ...] = (0.0, 7.5, 15.0, 22.5, 30.0, 37.5, 45.0, 52.5, 60.0)
    bucket_radius_deg_s: float = 7.5
    window_margin: int = 2
    """Video frames on each side whose buckets are seen with a frame's own."""
    token_dim: int = 320
    gain: float = 1.0
    """Factor on the speed that a film asks for, up to the last bucket's: heads of films may turn
    more slowly than those that the layers learned from."""

    def __post_init__(self) -> None:
        if self.gain <= 0:
            raise InputError(f"speed config: gain is {self.gain}; it must be above 0.")
        if self.bucket_radius_deg_s <= 0:
            raise InputError(
                f"speed config: bucket_radius_deg_s is {self.bucket_radius_deg_s}; it must be "
                "above 0."
            )


@dataclass(frozen=True, kw_only=True)
class TemporalConfig:
    """Temporal modules (AnimateDiff v2 layout)."""

    num_positions: int = 32
    """Length of the position table: motion frames and new frames together."""
    num_attention_blocks: int = 2
    num_motion_frames: int = 4
    levels: tuple[bool, ...] | None = None
    """Which resolutions have temporal modules, finest first; None: all. The middle always has."""


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The denoising network. A part that is None does not exist."""

    unet: UNetConfig = field(default_factory=UNetConfig)
    has_reference_attention: bool = True
    """`attn1_5`: keys and values from the ReferenceNet alone."""
    is_reference_joined: bool = False
    """`attn1`'s keys and values are the frame's own and then the ReferenceNet's."""
    reference_scale: float = 1.0
    """Factor on what `attn1_5` adds, as trained or as its authors run it."""
    audio_scale: float = 1.0
    """Factor on what the attention to the audio tokens adds."""
    context_dim: int | None = 768
    """Width of the tokens that `attn2` reads: audio, or identity with audio modules."""
    has_audio_modules: bool = False
    """Transformers of their own for the sound, one per layer, with a cross-attention each for
    background, face and lips (Hallo). They read the audio tokens instead of `attn2`."""
    audio: AudioConfig | None = field(default_factory=AudioConfig)
    temporal: TemporalConfig | None = field(default_factory=TemporalConfig)
    speed: SpeedConfig | None = field(default_factory=SpeedConfig)
    face_locator_channels: tuple[int, ...] | None = (16, 32, 64, 128)
    face_locator_input: str = "mask"
    """A key of `LOCATOR_INPUTS`: the face region, the same three times (Hallo), or a drawing of
    eyes and nose (V-Express)."""
    is_region_guided: bool = False
    """Whether guidance's unconditional half goes without the locator's map."""
    is_speed_guided: bool = False
    """Whether it goes without head speed, which guidance then makes count for more."""

    def __post_init__(self) -> None:
        if self.has_reference_attention and self.is_reference_joined:
            raise InputError(
                "backbone config: the reference is read by attn1_5 or joined in attn1, not both."
            )
        has_audio_in_attn2 = self.audio is not None and not self.has_audio_modules
        if has_audio_in_attn2 and self.audio.token_dim != self.context_dim:
            raise InputError(
                f"backbone config: audio tokens are {self.audio.token_dim} wide but attn2 reads "
                f"{self.context_dim}; make them equal."
            )
        if self.is_speed_guided and self.speed is None:
            raise InputError("backbone config: is_speed_guided without speed layers; add those.")
        if self.speed is not None and self.temporal is None:
            raise InputError("backbone config: speed layers live in temporal modules; add those.")
        if self.face_locator_input not in LOCATOR_INPUTS:
            raise InputError(
                f"backbone config: face_locator_input {self.face_locator_input!r} is unknown; "
                f"expected one of {', '.join(LOCATOR_INPUTS)}."
            )

    @property
    def num_locator_inputs(self) -> int:
        """Channels that the face locator sees."""
        return LOCATOR_INPUTS[self.face_locator_input]


LOCATOR_INPUTS = {"mask": 1, "mask_rgb": 3, "key_points": 3}
"""What a face locator may see -> channels."""


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """Noise schedule, in the terms of diffusers' schedulers."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"
    prediction_type: str = "v_prediction"
    rescale_betas_zero_snr: bool = True
    timestep_spacing: str = "trailing"

    def __post_init__(self) -> None:
        if self.beta_schedule not in ("linear", "scaled_linear"):
            raise InputError(
                f"diffusion config: beta_schedule {self.beta_schedule!r} is unknown; expected "
                "linear or scaled_linear."
            )


@dataclass(frozen=True, kw_only=True)
class WindowsConfig:
    """Overlapping windows over all frames at every step, instead of clip after clip."""

    overlap: int
    """Frames that a window shares with the one before."""
    is_loop: bool = False
    """Whether the last window goes on with the film's first frames (EchoMimic)."""
    shift: int = 0
    """Frames by which all windows of a loop move on at every step."""

    def __post_init__(self) -> None:
        if self.shift and not self.is_loop:
            raise InputError("windows config: only windows of a loop can move on at every step.")


@dataclass(frozen=True, kw_only=True)
class MotionConfig:
    """What the motion frames are, beyond EMO's zeros first and then the last latents."""

    is_first_reference: bool = False
    """The reference stands for them before the first clip, not zero maps (Hallo, the demo)."""
    is_decoded: bool = False
    """The last frames are decoded to pixels and encoded again (Hallo)."""


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """What a checkpoint was made for: the defaults of command line and nodes."""

    width: int = 512
    """Pixels."""
    height: int = 512
    fps: float = 25.0
    is_length_of_windows: bool = False
    """Whether a film gets as many frames as whole windows have, at a rate stretched to the sound
    (V-Express), unless a rate is asked for."""
    clip_frames: int = 12
    """Frames per clip or per window."""
    clip_overlap: int = 0
    """Frames that a clip shares with the one before it, where clips follow each other: one is
    faded into the other there, and what leads is the frames before them."""
    steps: int = 40
    guidance: float = 3.5
    solver: str | None = None
    """One of `sampling.schedule.SOLVERS`; None leaves the choice to the program."""
    windows: WindowsConfig | None = None
    motion: MotionConfig = field(default_factory=MotionConfig)
    noise_limit: float | None = None
    """The first latents are clamped to this on both sides (EchoMimic)."""
    has_median_filter: bool = False
    """Whether the finished frames pass a median over 3 frames, rows and columns (V-Express)."""

    def __post_init__(self) -> None:
        if self.windows is not None and not 0 <= self.windows.overlap < self.clip_frames:
            raise InputError(
                f"sampling config: windows of {self.clip_frames} frames that share "
                f"{self.windows.overlap}; expected fewer shared ones."
            )
        # A frame is in two clips at the most.
        greatest_overlap = 0 if self.windows is not None else self.clip_frames // 2
        if not 0 <= self.clip_overlap <= greatest_overlap:
            raise InputError(
                f"sampling config: clips of {self.clip_frames} frames that share "
                f"{self.clip_overlap}; expected 0 to {greatest_overlap}"
                + (", since windows cover the film." if self.windows is not None else ".")
            )
        if self.steps < 1:
            raise InputError(f"sampling config: {self.steps} steps; expected at least 1.")

    @property
    def clip_stride(self) -> int:
        """Frames from the start of one clip to that of the next."""
        return self.clip_frames - self.clip_overlap


@dataclass(frozen=True, kw_only=True)
class LatentPreview:
    """Latents as the networks see them -> rough colours, pixel by pixel, for previews."""

    factors: tuple[tuple[float, ...], ...]
    """One row (red, green, blue) per latent channel; colours are -1..1."""
    bias: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One checkpoint."""

    family: str = "emo"
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    reference_net: ReferenceNetConfig = field(default_factory=ReferenceNetConfig)
    front_end: FrontEndConfig | None = None
    """None: audio features come from a wav2vec2 or whisper model of its own file."""
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    latent_scale: float = 0.18215
    """The networks see the VAE's latents times this."""
    latent_preview: LatentPreview | None = None
    """None where the VAE is Stable Diffusion's, whose preview everybody knows."""

    def __post_init__(self) -> None:
        temporal = self.backbone.temporal
        if temporal is None:
            return
        levels, unet = temporal.levels, self.backbone.unet
        if levels is not None and len(levels) != len(unet.block_out_channels):
            raise InputError(
                f"model config: {len(levels)} temporal levels for {len(unet.block_out_channels)} "
                "resolutions; give one each."
            )
        needed = self.sampling.clip_frames + temporal.num_motion_frames
        if needed > temporal.num_positions:
            raise InputError(
                f"model config: clips of {self.sampling.clip_frames} frames after "
                f"{temporal.num_motion_frames} motion frames need {needed} positions; the "
                f"temporal modules have {temporal.num_positions}."
            )
        if self.sampling.clip_overlap and self.sampling.clip_stride < temporal.num_motion_frames:
            raise InputError(
                f"model config: clips of {self.sampling.clip_frames} frames that share "
                f"{self.sampling.clip_overlap}; before those, {temporal.num_motion_frames} motion "
                "frames are needed."
            )
