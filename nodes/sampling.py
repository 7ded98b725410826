"""Nodes that sample a film: a guider for ComfyUI's samplers, and all in one.

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
from server import PromptServer

from ..emo_core.files.on_disk import TensorOnDisk
from ..emo_core.film import Film
from ..emo_core.store.clips import LARGEST_BYTES, ClipStore
from .ddim import ddim_schedule
from .film import assemble, config_of
from .guider import ClipGuider
from .paths import STORE_FOLDER, store_path, temp_folder
from .retaking import takes_of
from .types import AudioType, FaceRegionType, ReferenceType, RetakeType, RetakeWire, SpeedType

logger = logging.getLogger(__name__)
FPS_KEY = "emo_fps"
"""Key of a LATENT that carries the film's frame rate to the stitcher."""
MEDIAN_KEY = "emo_median"
"""Key of a LATENT whose family passes its frames through a median."""
FILE_KEY = "emo_file"
"""Key of a LATENT whose samples lie in a file: the `TensorOnDisk`, which can be released."""
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


def long_film_inputs() -> list[io.Input]:
    """What sampling nodes have for long films; added after the first release, so last."""
    return [
        RetakeType.Input(
            "retake",
            optional=True,
            tooltip="From EMO Retake: parts that are made again; the rest stays as it is.",
        ),
        io.Boolean.Input(
            "keep_clips",
            default=True,
            optional=True,
            advanced=True,
            tooltip=f"Keeps every finished clip in ComfyUI's user folder, under {STORE_FOLDER}: "
            "after a crash or a change in a later part only what is missing is made. At most "
            f"{LARGEST_BYTES // 10**9} GB; the oldest go first.",
        ),
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
            inputs=[*film_inputs(), guidance_input(), *weight_inputs(), *long_film_inputs()],
            outputs=[
                io.Guider.Output(),
                io.Latent.Output(tooltip="Empty, with exactly the frames of the voice."),
            ],
        )

    @classmethod
    def execute(
        cls,
        guidance: float,
        retake: tuple[RetakeWire, ...] = (),
        keep_clips: bool = True,
        **film_inputs: object,
    ) -> io.NodeOutput:
        guider = _guider(cls.NAME, guidance, retake, keep_clips, film_inputs)
        film = guider.film
        return io.NodeOutput(guider, empty_latent(film, film.num_frames))


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
                *long_film_inputs(),
            ],
            outputs=[io.Latent.Output(tooltip="The film, for EMO Clip Stitcher.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        seed: int,
        steps: int,
        guidance: float,
        sampler_name: str,
        scheduler: str,
        retake: tuple[RetakeWire, ...] = (),
        keep_clips: bool = True,
        **film_inputs: object,
    ) -> io.NodeOutput:
        guider = _guider(cls.NAME, guidance, retake, keep_clips, film_inputs)
        film, model = guider.film, film_inputs["model"]
        defaults = film.config.sampling
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
        stretches = guider.stretches_of_seed(
            seed,
            sampler,
            sigmas,
            callback=latent_preview.prepare_callback(model, steps),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        )
        # Latents of a long film would fill the memory: they lie in a file.
        latents = TensorOnDisk(temp_folder(), row_shape=film.latent_shape)
        for stretch in stretches:
            latents.append(stretch.latents)
        if guider.num_recalled:
            text = f"{guider.num_recalled} clips were in {guider.store.folder}"
            PromptServer.instance.send_progress_text(text, cls.hidden.unique_id)
        latent = empty_latent(film, film.num_frames)
        latent |= {"samples": latents.tensor(), FILE_KEY: latents}
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


def _guider(
    node: str,
    guidance: float,
    retakes: tuple[RetakeWire, ...],
    is_kept: bool,
    film_inputs: dict[str, object],
) -> ClipGuider:
    """Bring a film, its retakes and its store together."""
    to_sample = assemble(node=node, **film_inputs)
    guidance = guidance or to_sample.film.config.sampling.guidance
    return ClipGuider(
        film_inputs["model"],
        to_sample,
        guidance=guidance,
        takes=takes_of(retakes, to_sample, guidance=guidance, node=node),
        store=ClipStore(store_path()) if is_kept else None,
    )


def empty_latent(film: Film, num_frames: int) -> Latent:
    """A LATENT of zeros that says what the stitcher wants to know."""
    samples = torch.zeros(
        (num_frames, *film.latent_shape), device=comfy.model_management.intermediate_device()
    )
    latent = {"samples": samples, FPS_KEY: film.fps}
    if film.config.sampling.has_median_filter:
        latent[MEDIAN_KEY] = True
    return latent
