"""Nodes that sample: a guider for ComfyUI's samplers, one clip for KSampler, and all in one.

Their inputs about the film go to `assemble` by name.
"""

from __future__ import annotations

import logging

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..emo_core.errors import InputError
from ..emo_core.film import Film
from ..emo_core.models.reference import MotionReading
from .ddim import ddim_schedule
from .film import FilmToSample, assemble, config_of
from .guider import ClipGuider
from .network import CLIP_KEY
from .types import AudioType, FaceRegionType, ReferenceType, SpeedType

logger = logging.getLogger(__name__)
FPS_KEY = "emo_fps"
"""Key of a LATENT that carries the film's frame rate to the stitcher."""
MEDIAN_KEY = "emo_median"
"""Key of a LATENT whose family passes its frames through a median."""
AUTO = "auto"
USUAL_SAMPLER, USUAL_SCHEDULER = "dpmpp_2m", "sgm_uniform"
Latent = dict[str, object]


def film_inputs() -> list[io.Input]:
    """The inputs that every sampling node begins with."""
    return [
        io.Model.Input("model", tooltip="From Load EMO Model, through LoRAs and patches."),
        ReferenceType.Input("reference", tooltip="From EMO Reference Encode."),
        AudioType.Input("emo_audio", tooltip="From EMO Audio Encode."),
        FaceRegionType.Input(
            "face_region",
            optional=True,
            tooltip="From EMO Face Region. Without it, a usual portrait's face has room to move.",
        ),
        SpeedType.Input(
            "head_speed",
            optional=True,
            tooltip="From EMO Head Speed. Without it the speed layers are left out and the head "
            "moves as the voice suggests.",
        ),
    ]


def weight_inputs() -> list[io.Input]:
    """Factors on the attentions, for those who look for them."""
    texts = {
        "reference_weight": "How much the portrait counts",
        "audio_weight": "How much the voice counts: above 1 the mouth opens wider",
        "speed_weight": "How much the head speed counts",
    }
    return [
        io.Float.Input(
            name,
            default=1.0,
            min=0.0,
            max=3.0,
            step=0.05,
            advanced=True,
            tooltip=f"{text}. 1 is as trained.",
        )
        for name, text in texts.items()
    ]


def guidance_input() -> io.Input:
    return io.Float.Input(
        "guidance",
        default=0.0,
        min=0.0,
        max=20.0,
        step=0.1,
        tooltip="How strictly portrait and voice are followed. 0 takes the checkpoint's own value, "
        "1 is off and faster, 2 to 4 is usual.",
    )


class Guider(io.ComfyNode):
    NAME = "EMO Guider"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_Guider",
            display_name=cls.NAME,
            category="EMO/sampling",
            description="Samples the whole film: clip after clip, each led by the last frames of "
            "the one before, or all frames together in windows (EchoMimic, V-Express). For "
            "SamplerCustomAdvanced; connect its LATENT there too.",
            search_aliases=["temporal sampler", "clip sampler", "motion frames"],
            inputs=[*film_inputs(), guidance_input(), *weight_inputs()],
            outputs=[
                io.Guider.Output(),
                io.Latent.Output(tooltip="Empty, with exactly the frames of the voice."),
            ],
        )

    @classmethod
    def execute(
        cls,
        guidance: float,
        **film_inputs: object,
    ) -> io.NodeOutput:
        to_sample = assemble(node=cls.NAME, **film_inputs)
        film = to_sample.film
        guidance = guidance or film.config.sampling.guidance
        guider = ClipGuider(film_inputs["model"], to_sample, guidance=guidance)
        return io.NodeOutput(guider, _empty_latent(film, film.num_frames))


class Conditioning(io.ComfyNode):
    NAME = "EMO Conditioning"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_Conditioning",
            display_name=cls.NAME,
            category="EMO/sampling",
            description="One clip of the film for a stock KSampler. Chain several by feeding the "
            "sampled LATENT of one into previous of the next.",
            search_aliases=["ksampler", "one clip"],
            inputs=[
                *film_inputs(),
                io.Latent.Input(
                    "previous",
                    optional=True,
                    tooltip="The clip before, sampled: its last frames lead this one. Leave it out "
                    "for the film's first clip.",
                ),
                io.Int.Input(
                    "first_frame",
                    default=0,
                    min=0,
                    max=1_000_000,
                    tooltip="Frame of the film that this clip begins with.",
                ),
                io.Int.Input(
                    "num_frames",
                    display_name="frames",
                    default=0,
                    min=0,
                    max=100_000,
                    tooltip="Frames of this clip. 0 takes the clip length that the checkpoint was "
                    "made for, more needs Context Windows (Manual); for EchoMimic and V-Express 0 "
                    "takes all, since they bring their windows.",
                ),
                *weight_inputs(),
            ],
            outputs=[
                io.Conditioning.Output("positive", display_name="positive"),
                io.Conditioning.Output("negative", display_name="negative"),
                io.Latent.Output(tooltip="Empty, of this clip's frames."),
            ],
        )

    @classmethod
    def execute(
        cls,
        first_frame: int,
        num_frames: int,
        previous: Latent | None = None,
        **film_inputs: object,
    ) -> io.NodeOutput:
        to_sample = assemble(node=cls.NAME, **film_inputs)
        film = to_sample.film
        if first_frame >= film.num_frames:
            raise InputError(
                f"{cls.NAME}: first_frame is {first_frame}, but the film has {film.num_frames} "
                "frames. Choose an earlier one, or give more sound."
            )
        sampling = film.config.sampling
        left = film.num_frames - first_frame
        usual = sampling.clip_frames if sampling.windows is None else left
        frames = min(num_frames or usual, left)
        clip = film.clip(
            range(first_frame, first_frame + frames), motion=cls._motion(to_sample, previous)
        )
        positive = [[None, {CLIP_KEY: clip}]]
        negative = [[None, {CLIP_KEY: clip.unconditional()}]]
        return io.NodeOutput(positive, negative, _empty_latent(film, frames))

    @classmethod
    def _motion(cls, to_sample: FilmToSample, previous: Latent | None) -> MotionReading | None:
        if previous is not None and not to_sample.num_motion_frames:
            raise InputError(
                f"{cls.NAME}: previous is connected, but checkpoints of family "
                f"{to_sample.film.config.family} have no motion frames and sample all frames "
                "together. Disconnect it, and leave num_frames at 0."
            )
        if previous is not None:
            samples: Tensor = previous["samples"]
            wanted = to_sample.film.latent_shape
            if tuple(samples.shape[1:]) != wanted:
                raise InputError(
                    f"{cls.NAME}: previous has frames of shape {list(samples.shape[1:])}; this "
                    f"film's are {list(wanted)} (channels, rows, columns). Connect the sampled "
                    "clip of the same film."
                )
            if len(samples) < to_sample.num_motion_frames:
                raise InputError(
                    f"{cls.NAME}: previous has {len(samples)} frames. Expected at least "
                    f"{to_sample.num_motion_frames}, which lead the next clip."
                )
        reading = to_sample.motion(None if previous is None else previous["samples"])
        if reading is None:
            return None
        place = comfy.model_management.intermediate_device()
        known, unknown = (
            {name: value.to(place) for name, value in features.items()}
            for features in (reading.known, reading.unknown)
        )
        return MotionReading(known=known, unknown=unknown)


class Sampler(io.ComfyNode):
    NAME = "EMO Sampler"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_Sampler",
            display_name=cls.NAME,
            category="EMO/sampling",
            description="The whole film in one node: what EMO Guider does with "
            "SamplerCustomAdvanced.",
            search_aliases=["talking head", "ksampler", "animate portrait"],
            inputs=[
                *film_inputs(),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Another seed, another performance.",
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Denoising steps. 0 takes the checkpoint's own number: 10 for the "
                    "demo, 25 to 40 for the published families, 6 for accelerated EchoMimic.",
                ),
                guidance_input(),
                io.Combo.Input(
                    "sampler_name",
                    options=[AUTO, *comfy.samplers.KSampler.SAMPLERS],
                    default=AUTO,
                    tooltip="auto takes the checkpoint's own: DDIM with its own schedule for the "
                    "published families, dpmpp_2m for others.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=[AUTO, *comfy.samplers.KSampler.SCHEDULERS],
                    default=AUTO,
                    tooltip="auto is sgm_uniform, which begins at pure noise as in training. Not "
                    "read where sampler_name auto is DDIM, which has its own schedule.",
                ),
                *weight_inputs(),
            ],
            outputs=[io.Latent.Output(tooltip="The film, for EMO Clip Stitcher.")],
        )

    @classmethod
    def execute(
        cls,
        seed: int,
        steps: int,
        guidance: float,
        sampler_name: str,
        scheduler: str,
        **film_inputs: object,
    ) -> io.NodeOutput:
        to_sample = assemble(node=cls.NAME, **film_inputs)
        film, model = to_sample.film, film_inputs["model"]
        defaults = film.config.sampling
        guider = ClipGuider(model, to_sample, guidance=guidance or defaults.guidance)
        steps = steps or defaults.steps
        if sampler_name == AUTO and defaults.solver == "ddim":
            sampler, sigmas = ddim_schedule(model, steps=steps)
        else:
            sampler = comfy.samplers.sampler_object(
                USUAL_SAMPLER if sampler_name == AUTO else sampler_name
            )
            sigmas = comfy.samplers.calculate_sigmas(
                model.get_model_object("model_sampling"),
                USUAL_SCHEDULER if scheduler == AUTO else scheduler,
                steps,
            )
        latent = _empty_latent(film, film.num_frames)
        samples = guider.sample(
            comfy.sample.prepare_noise(latent["samples"], seed),
            latent["samples"],
            sampler,
            sigmas,
            callback=latent_preview.prepare_callback(model, steps),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=seed,
        )
        latent["samples"] = samples.to(comfy.model_management.intermediate_device())
        return io.NodeOutput(latent)


class DDIM(io.ComfyNode):
    NAME = "EMO DDIM"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_DDIM",
            display_name=cls.NAME,
            category="EMO/sampling",
            description="DDIM exactly as diffusers runs it, for SamplerCustomAdvanced. "
            "With the same seed and steps it gives what the command line gives with --solver ddim.",
            search_aliases=["diffusers", "scheduler", "sigmas"],
            inputs=[
                io.Model.Input("model", tooltip="From Load EMO Model."),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Denoising steps. 0 takes the checkpoint's own number.",
                ),
            ],
            outputs=[io.Sampler.Output(), io.Sigmas.Output()],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, steps: int) -> io.NodeOutput:
        config = config_of(model, node=cls.NAME)
        return io.NodeOutput(*ddim_schedule(model, steps=steps or config.sampling.steps))


def _empty_latent(film: Film, num_frames: int) -> Latent:
    samples = torch.zeros(
        (num_frames, *film.latent_shape), device=comfy.model_management.intermediate_device()
    )
    latent = {"samples": samples, FPS_KEY: film.fps}
    if film.config.sampling.has_median_filter:
        latent[MEDIAN_KEY] = True
    return latent
