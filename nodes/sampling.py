"""Nodes that sample a film: a guider for ComfyUI's samplers, and all in one.

Their inputs about the film go to `assemble` by name.
"""

from __future__ import annotations

from collections.abc import Iterator

import comfy.samplers
import comfy.utils
import latent_preview
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..emo_core.files.on_disk import TensorOnDisk
from ..emo_core.sampling.anchor import USUAL_ANCHOR_SHARE
from ..emo_core.sampling.generate import Stretch
from ..emo_core.store.clips import LARGEST_BYTES, ClipStore
from .film import assemble, config_of
from .guider import ClipGuider
from .latents import FILE_KEY, empty_latent
from .paths import STORE_FOLDER, store_path, temp_folder
from .retaking import takes_of
from .shown import show_text
from .solvers import OWN_SOLVERS, own_schedule
from .sound import AudioDict, waveform_of
from .streaming import write_film
from .types import AudioType, FaceRegionType, ReferenceType, RetakeType, RetakeWire, SpeedType

AUTO = "auto"
USUAL_SAMPLER, USUAL_SCHEDULER = "dpmpp_2m", "sgm_uniform"


def core_schedule(
    model: ModelPatcher, *, sampler: str, scheduler: str, steps: int
) -> tuple[comfy.samplers.KSAMPLER, Tensor]:
    """Return one of ComfyUI's samplers and the sigmas of `steps` steps.

    Args:
        sampler, scheduler: names that ComfyUI knows, or AUTO for the usual ones.
    """
    sigmas = comfy.samplers.calculate_sigmas(
        model.get_model_object("model_sampling"),
        USUAL_SCHEDULER if scheduler == AUTO else scheduler,
        steps,
    )
    name = USUAL_SAMPLER if sampler == AUTO else sampler
    return comfy.samplers.sampler_object(name), sigmas


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
        io.Int.Input(
            "anchor_every",
            default=0,
            min=0,
            max=10_000,
            optional=True,
            advanced=True,
            tooltip="Against drift in long films: every so many clips, what leads the next is "
            "mixed with the portrait. 0 never does.",
        ),
        io.Float.Input(
            "anchor_share",
            default=USUAL_ANCHOR_SHARE,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="How far it is mixed then: 0 not at all, 1 is the portrait alone.",
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
        anchor_every: int = 0,
        anchor_share: float = USUAL_ANCHOR_SHARE,
        **film_inputs: object,
    ) -> io.NodeOutput:
        guider = _guider(
            cls.NAME, guidance, retake, keep_clips, (anchor_every, anchor_share), film_inputs
        )
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
                    tooltip="Denoising steps. 0 takes the checkpoint's own number: 4 for the "
                    "demo, 25 to 40 for the published families, 6 for accelerated EchoMimic.",
                ),
                guidance_input(),
                io.Combo.Input(
                    "sampler_name",
                    options=[AUTO, *comfy.samplers.KSampler.SAMPLERS],
                    default=AUTO,
                    tooltip="auto takes the checkpoint's own: DDIM with its own schedule for the "
                    "published families, LCM for the demo.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=[AUTO, *comfy.samplers.KSampler.SCHEDULERS],
                    default=AUTO,
                    tooltip="auto is sgm_uniform, which begins at pure noise as in training. Not "
                    "read where sampler_name auto is DDIM or LCM, which have their own.",
                ),
                *weight_inputs(),
                *long_film_inputs(),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Connect it to have the film as VIDEO, written while it is sampled: "
                    "the node says which file can be watched meanwhile.",
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="Sound of that VIDEO: the voice, or a mix with music.",
                ),
            ],
            outputs=[
                io.Latent.Output(tooltip="The film, for EMO Clip Stitcher."),
                io.Video.Output(tooltip="For Save Video, with vae connected."),
            ],
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
        anchor_every: int = 0,
        anchor_share: float = USUAL_ANCHOR_SHARE,
        vae: VAE | None = None,
        audio: AudioDict | None = None,
        **film_inputs: object,
    ) -> io.NodeOutput:
        guider = _guider(
            cls.NAME, guidance, retake, keep_clips, (anchor_every, anchor_share), film_inputs
        )
        film, model = guider.film, film_inputs["model"]
        defaults = film.config.sampling
        steps = steps or defaults.steps
        if sampler_name == AUTO and defaults.solver in OWN_SOLVERS:
            sampler, sigmas = own_schedule(model, solver=defaults.solver, steps=steps)
        else:
            sampler, sigmas = core_schedule(
                model, sampler=sampler_name, scheduler=scheduler, steps=steps
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
        clips = _kept(stretches, latents)
        video = ExecutionBlocker(
            f"{cls.NAME} gives VIDEO only with a vae. Connect one, or use EMO Clip Stitcher."
        )
        if vae is None:
            for _ in clips:
                pass
        else:
            sound = None if audio is None else waveform_of(audio, node=cls.NAME)
            video = write_film(film, clips, vae, sound, on_written=cls._tell, node=cls.NAME)
        if guider.num_recalled:
            cls._tell(f"{guider.num_recalled} clips were in {guider.store.folder}")
        latent = empty_latent(film, 0)
        return io.NodeOutput(latent | {"samples": latents.tensor(), FILE_KEY: latents}, video)

    @classmethod
    def _tell(cls, text: str) -> None:
        """Show a text on the node."""
        show_text(text, node_id=cls.hidden.unique_id)


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
        steps = steps or config.sampling.steps
        return io.NodeOutput(*own_schedule(model, solver="ddim", steps=steps))


def _kept(stretches: Iterator[Stretch], latents: TensorOnDisk) -> Iterator[Tensor]:
    """Put a film's latents into a file, and hand them on."""
    for stretch in stretches:
        latents.append(stretch.latents)
        yield stretch.latents


def _guider(
    node: str,
    guidance: float,
    retakes: tuple[RetakeWire, ...],
    is_kept: bool,
    anchor: tuple[int, float],
    film_inputs: dict[str, object],
) -> ClipGuider:
    """Bring a film, its retakes, its anchor (every, share) and its store together."""
    to_sample = assemble(node=node, **film_inputs)
    guidance = guidance or to_sample.film.config.sampling.guidance
    return ClipGuider(
        film_inputs["model"],
        to_sample,
        guidance=guidance,
        takes=takes_of(retakes, to_sample, guidance=guidance, node=node),
        anchor=to_sample.film.anchor(every=anchor[0], share=anchor[1]),
        store=ClipStore(store_path()) if is_kept else None,
    )
