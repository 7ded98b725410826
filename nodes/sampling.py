"""Nodes that sample: a guider for ComfyUI's samplers, one clip for KSampler, and all in one."""

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
from .ddim import ddim_schedule
from .film import Film, Weights, assemble, config_of
from .guider import ClipGuider
from .loading import read_reference
from .network import CLIP_KEY
from .types import (
    Audio,
    AudioType,
    FaceRegion,
    FaceRegionType,
    Reference,
    ReferenceType,
    Speed,
    SpeedType,
)

logger = logging.getLogger(__name__)
FPS_KEY = "emo_fps"
"""Key of a LATENT that carries the film's frame rate to the stitcher."""
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
            description="Samples the whole film, clip after clip, each led by the last frames of "
            "the one before. For SamplerCustomAdvanced; connect its LATENT there too.",
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
        model: ModelPatcher,
        reference: Reference,
        emo_audio: Audio,
        guidance: float,
        reference_weight: float,
        audio_weight: float,
        speed_weight: float,
        face_region: FaceRegion | None = None,
        head_speed: Speed | None = None,
    ) -> io.NodeOutput:
        film = assemble(
            model,
            node=cls.NAME,
            reference=reference,
            audio=emo_audio,
            region=face_region,
            speed=head_speed,
            weights=Weights(reference=reference_weight, audio=audio_weight, speed=speed_weight),
        )
        guider = ClipGuider(model, film, guidance=guidance or film.config.sampling.guidance)
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
                    "made for; more needs Context Windows (Manual).",
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
        model: ModelPatcher,
        reference: Reference,
        emo_audio: Audio,
        first_frame: int,
        num_frames: int,
        reference_weight: float,
        audio_weight: float,
        speed_weight: float,
        face_region: FaceRegion | None = None,
        head_speed: Speed | None = None,
        previous: Latent | None = None,
    ) -> io.NodeOutput:
        film = assemble(
            model,
            node=cls.NAME,
            reference=reference,
            audio=emo_audio,
            region=face_region,
            speed=head_speed,
            weights=Weights(reference=reference_weight, audio=audio_weight, speed=speed_weight),
        )
        if first_frame >= film.num_frames:
            raise InputError(
                f"{cls.NAME}: first_frame is {first_frame}, but the film has {film.num_frames} "
                "frames. Choose an earlier one, or give more sound."
            )
        wanted = num_frames or film.config.sampling.clip_frames
        frames = min(wanted, film.num_frames - first_frame)
        motion = None if previous is None else cls._motion(film, previous["samples"])
        inputs = film.clip(first_frame, num_frames=frames, motion=motion)
        positive = [[None, {CLIP_KEY: inputs}]]
        negative = [[None, {CLIP_KEY: inputs.unconditional()}]]
        return io.NodeOutput(positive, negative, _empty_latent(film, frames))

    @classmethod
    def _motion(cls, film: Film, samples: Tensor) -> dict[str, Tensor] | None:
        temporal = film.config.backbone.temporal
        if temporal is None or not temporal.num_motion_frames:
            return None
        if tuple(samples.shape[1:]) != film.latent_shape:
            raise InputError(
                f"{cls.NAME}: previous has frames of shape {list(samples.shape[1:])}; this film's "
                f"are {list(film.latent_shape)} (channels, rows, columns). Connect the sampled "
                "clip of the same film."
            )
        if samples.shape[0] < temporal.num_motion_frames:
            raise InputError(
                f"{cls.NAME}: previous has {samples.shape[0]} frames. Expected at least "
                f"{temporal.num_motion_frames}, which lead the next clip."
            )
        place = comfy.model_management.intermediate_device()
        features = read_reference(film.reference.net, samples[-temporal.num_motion_frames :])
        return {name: value.to(place) for name, value in features.items()}


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
                    default=20,
                    min=1,
                    max=1000,
                    tooltip="Denoising steps of each clip. 20 is a start, 10 a quick look.",
                ),
                guidance_input(),
                io.Combo.Input(
                    "sampler_name",
                    options=comfy.samplers.KSampler.SAMPLERS,
                    default="dpmpp_2m",
                    tooltip="Start with dpmpp_2m.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.KSampler.SCHEDULERS,
                    default="sgm_uniform",
                    tooltip="Start with sgm_uniform, which begins at pure noise as in training.",
                ),
                *weight_inputs(),
            ],
            outputs=[io.Latent.Output(tooltip="The film, for EMO Clip Stitcher.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        reference: Reference,
        emo_audio: Audio,
        seed: int,
        steps: int,
        guidance: float,
        sampler_name: str,
        scheduler: str,
        reference_weight: float,
        audio_weight: float,
        speed_weight: float,
        face_region: FaceRegion | None = None,
        head_speed: Speed | None = None,
    ) -> io.NodeOutput:
        film = assemble(
            model,
            node=cls.NAME,
            reference=reference,
            audio=emo_audio,
            region=face_region,
            speed=head_speed,
            weights=Weights(reference=reference_weight, audio=audio_weight, speed=speed_weight),
        )
        guider = ClipGuider(model, film, guidance=guidance or film.config.sampling.guidance)
        latent = _empty_latent(film, film.num_frames)
        model_sampling = model.get_model_object("model_sampling")
        samples = guider.sample(
            comfy.sample.prepare_noise(latent["samples"], seed),
            latent["samples"],
            comfy.samplers.sampler_object(sampler_name),
            comfy.samplers.calculate_sigmas(model_sampling, scheduler, steps),
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
                    default=40,
                    min=1,
                    max=1000,
                    tooltip="Denoising steps of each clip. 40 is what the papers use.",
                ),
            ],
            outputs=[io.Sampler.Output(), io.Sigmas.Output()],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, steps: int) -> io.NodeOutput:
        config_of(model, node=cls.NAME)
        return io.NodeOutput(*ddim_schedule(model, steps=steps))


def _empty_latent(film: Film, num_frames: int) -> Latent:
    samples = torch.zeros(
        (num_frames, *film.latent_shape), device=comfy.model_management.intermediate_device()
    )
    return {"samples": samples, FPS_KEY: film.fps}
