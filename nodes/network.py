"""EMO as a native MODEL: the backbone in ComfyUI's own layers, and the model class round it.

ComfyUI's sampler stack drives it like any of its models. What a clip is conditioned on travels in
the conditioning under one key as a `Clip`; `extra_conds` projects it once per sampling call, so a
step only reads it, and nothing outlives the call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.ops
import comfy.patcher_extension
import comfy.supported_models_base
import torch
from torch import Tensor

from ..emo_core.config import PIXELS_PER_LATENT, DiffusionConfig, ModelConfig
from ..emo_core.errors import InputError
from ..emo_core.film import Clip
from ..emo_core.models.backbone import Backbone, SharedConditions
from ..emo_core.models.unet import Conditions

CLIP_KEY = "emo_clip"
"""Key of a conditioning's dict that holds the `Clip`."""
LAYERS = ("Linear", "Conv2d", "GroupNorm", "LayerNorm")
BETA_SCHEDULES = {"scaled_linear": "linear", "linear": "sqrt_linear"}
"""diffusers' names of beta schedules -> ComfyUI's, which has them the other way round."""
SD15_LATENT_SCALE = 0.18215


def bound_layers(operations: ModuleType, *, dtype: torch.dtype | None, device: object) -> object:
    """Return ComfyUI's layer classes with dtype and device filled in, as `ops` for our networks."""
    return SimpleNamespace(
        **{name: partial(getattr(operations, name), dtype=dtype, device=device) for name in LAYERS}
    )


class EMOBackbone(Backbone):
    """The backbone with the constructor and the forward that ComfyUI calls."""

    def __init__(
        self,
        *,
        image_model: str,
        model_config: ModelConfig,
        dtype: torch.dtype,
        device: object = None,
        operations: ModuleType = comfy.ops.manual_cast,
    ) -> None:
        super().__init__(
            model_config.backbone, ops=bound_layers(operations, dtype=dtype, device=device)
        )
        self.dtype = dtype
        """ComfyUI asks for it."""

    def forward(  # noqa: D102
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | None = None,
        control: dict | None = None,
        transformer_options: dict | None = None,
        conditions: Conditions | None = None,
        **kwargs: object,
    ) -> Tensor:
        # ComfyUI's contract: it also hands over conditions of other models, which are not read.
        if conditions is None:
            raise InputError(
                "EMO model: the conditioning is not one of EMO's. A sampler found text or another "
                "model's conditioning; connect positive and negative of 'EMO Conditioning', or "
                "use 'EMO Guider' with SamplerCustomAdvanced."
            )
        options = {} if transformer_options is None else transformer_options
        kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
        # Wrappers, such as EasyCache's, look for the options at the end.
        return comfy.patcher_extension.WrapperExecutor.new_class_executor(
            self._run_wrapped, self, comfy.patcher_extension.get_all_wrappers(kind, options)
        ).execute(x, timesteps, conditions, options)

    def _run_wrapped(
        self, x: Tensor, timesteps: Tensor, conditions: Conditions, transformer_options: dict
    ) -> Tensor:
        return super().forward(x, timesteps, conditions)


class ClipCondition:
    """A clip's projected conditions as ComfyUI's sampler carries them (a COND, `comfy.conds`).

    A film that is sampled in windows is not projected as a whole, only what its windows share,
    unless the model is asked for the whole after all.
    """

    def __init__(
        self,
        clip: Clip,
        shared: SharedConditions,
        project: Callable[[Clip, SharedConditions], Conditions],
        *,
        hooks: object,
        shape: list[int],
    ) -> None:
        self.cond: Conditions | None = None
        self.clip = clip
        self.shared = shared
        self.project = project
        self.hooks = hooks
        self.shape = shape

    def prepared(self) -> ClipCondition:
        """Project the clip now, under the hooks of its conditioning."""
        if self.cond is None:
            self.cond = self.project(self.clip, self.shared, hooks=self.hooks)
        return self

    def process_cond(self, batch_size: int, **kwargs: object) -> ClipCondition:
        """Check the number of frames against the batch that is sampled."""
        if batch_size != self.clip.num_frames:
            raise InputError(
                f"EMO model: {batch_size} latent frames are sampled under the conditions of "
                f"{self.clip.num_frames}. Use the LATENT that comes out of the node that made "
                "the conditioning."
            )
        return self

    def can_concat(self, other: ClipCondition) -> bool:
        """Conditional and unconditional run one after the other: the latter skips attentions."""
        return other is self

    def concat(self, others: list[ClipCondition]) -> Conditions:
        return self.prepared().cond

    def size(self) -> list[int]:
        """Shape of the latents whose features are kept, for the memory estimate."""
        return self.shape


class EMOModel(comfy.model_base.BaseModel):
    """The model class: conditions, windows, memory, strict loading."""

    def __init__(self, config: EMOSupported, device: object = None) -> None:
        model_config: ModelConfig = config.unet_config["model_config"]
        kind = {
            "v_prediction": comfy.model_base.ModelType.V_PREDICTION,
            "epsilon": comfy.model_base.ModelType.EPS,
        }[model_config.diffusion.prediction_type]
        super().__init__(config, model_type=kind, device=device, unet_model=EMOBackbone)
        self.emo_config = model_config
        self.memory_usage_factor_conds = ("conditions",)

    def extra_conds(self, **kwargs: object) -> dict[str, object]:  # noqa: D102
        clip: Clip | None = kwargs.get(CLIP_KEY)
        if clip is None:
            return {}
        self._check_latents(kwargs["noise"], clip)
        like, hooks = self._like(kwargs["device"]), kwargs.get("hooks")
        self._use_hooks(hooks)
        condition = ClipCondition(
            clip,
            clip.share(self.diffusion_model, like=like),
            partial(self._project, like=like),
            hooks=hooks,
            shape=self._kept_shape(clip),
        )
        if self._is_one_window(clip):
            condition.prepared()
        return {"conditions": condition}

    def extra_conds_shapes(self, **kwargs: object) -> dict[str, list[int]]:  # noqa: D102
        clip: Clip | None = kwargs.get(CLIP_KEY)
        return {} if clip is None else {"conditions": self._kept_shape(clip)}

    def resize_cond_for_context_window(  # noqa: D102
        self,
        cond_key: str,
        cond_value: object,
        window: object,
        x_in: torch.Tensor,
        device: torch.device,
        retain_index_list: list[int] = (),
    ) -> ClipCondition | None:
        if cond_key != "conditions":
            return None
        # Positions of speed tokens count from the window's start: project anew, do not cut.
        indices = list(window.index_list)
        # A frame in front of the window that ComfyUI adds and strips again.
        anchor = getattr(window, "causal_anchor_index", None)
        if anchor is not None and anchor >= 0:
            indices.insert(0, anchor)
        like = self._like(x_in.device if device is None else device)
        return ClipCondition(
            cond_value.clip.select(indices),
            cond_value.shared.to(like.device),
            partial(self._project, like=like),
            hooks=cond_value.hooks,
            shape=cond_value.shape,
        ).prepared()

    def load_model_weights(self, sd: dict, unet_prefix: str = "", assign: bool = False) -> EMOModel:
        """Load strictly; ComfyUI's own only warns of keys that do not fit."""
        self.diffusion_model.load_state_dict(sd, strict=True, assign=assign)
        return self

    def _project(
        self, clip: Clip, shared: SharedConditions, *, like: Tensor, hooks: object
    ) -> Conditions:
        self._use_hooks(hooks)
        return clip.prepare(self.diffusion_model, shared, like=like)

    def _use_hooks(self, hooks: object) -> None:
        """Switch to a conditioning's hooks, such as LoRAs; ComfyUI does so after projecting."""
        self.current_patcher.apply_hooks(hooks=hooks)

    def _like(self, device: torch.device) -> Tensor:
        """What conditions are projected to."""
        return torch.empty(0, dtype=self.get_dtype_inference(), device=device)

    def _is_one_window(self, clip: Clip) -> bool:
        """Whether the model reads the clip as it is; see `windows.FilmWindows`."""
        sampling = self.emo_config.sampling
        return sampling.windows is None or clip.num_frames <= sampling.clip_frames

    def _kept_shape(self, clip: Clip) -> list[int]:
        """Of the latents of reference and motion frames."""
        temporal = self.emo_config.backbone.temporal
        num_kept = 1 + (0 if temporal is None else temporal.num_motion_frames)
        return [num_kept, *clip.film.latent_shape]

    def _check_latents(self, noise: Tensor, clip: Clip) -> None:
        film = clip.film
        found = (
            noise.shape[1],
            noise.shape[-1] * PIXELS_PER_LATENT,
            noise.shape[-2] * PIXELS_PER_LATENT,
        )
        wanted = (self.latent_format.latent_channels, film.width, film.height)
        if found != wanted:
            raise InputError(
                f"EMO model: the latents have {found[0]} channels for {found[1]}x{found[2]} "
                f"pixels; this checkpoint and reference need {wanted[0]} channels for {wanted[1]}x"
                f"{wanted[2]}. Use the LATENT that comes out of the node that made the "
                "conditioning."
            )


class EMOSupported(comfy.supported_models_base.BASE):
    """ComfyUI's configuration of one checkpoint."""

    unet_config = {"image_model": "emo"}
    unet_extra_config = {}

    def __init__(self, model_config: ModelConfig) -> None:
        super().__init__({"image_model": "emo", "model_config": model_config})
        self.latent_format = latent_format_of(model_config)
        self.sampling_settings = sampling_settings_of(model_config.diffusion)
        # Stable Diffusion 1.5 has factor 1 at width 320 without temporal modules.
        self.memory_usage_factor = 2.0 * model_config.backbone.unet.block_out_channels[0] / 320

    def get_model(self, state_dict: dict, prefix: str = "", device: object = None) -> EMOModel:
        return EMOModel(self, device=device)


def latent_format_of(config: ModelConfig) -> comfy.latent_formats.LatentFormat:
    """How latents of this checkpoint are scaled and shown while sampling."""
    channels = config.backbone.unet.latent_channels
    if channels == 4 and config.latent_scale == SD15_LATENT_SCALE:
        return comfy.latent_formats.SD15()
    latent_format = comfy.latent_formats.LatentFormat()
    latent_format.scale_factor = config.latent_scale
    latent_format.latent_channels = channels
    if config.latent_preview is not None:
        latent_format.latent_rgb_factors = [list(row) for row in config.latent_preview.factors]
        latent_format.latent_rgb_factors_bias = list(config.latent_preview.bias)
    return latent_format


def sampling_settings_of(config: DiffusionConfig) -> dict[str, object]:
    """The noise schedule in ComfyUI's terms."""
    return {
        "beta_schedule": BETA_SCHEDULES[config.beta_schedule],
        "linear_start": config.beta_start,
        "linear_end": config.beta_end,
        "timesteps": config.num_train_timesteps,
        "zsnr": config.rescale_betas_zero_snr,
    }
