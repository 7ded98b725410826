"""The node that says before a film is made what it will cost and whether it fits.

It samples the film's first clips by the guider that makes films, and asks ComfyUI for its own
estimates of memory.

Letters: F frames, C channels, h and w rows and columns of latents, H and W of pixels.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import comfy.model_management
import comfy.sample
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from comfy_api.latest import io, ui
from torch import Tensor

from ..emo_core.errors import InputError
from ..emo_core.film import Film
from ..emo_core.preflight.costs import MEASURED_STEPS, Costs, StepClock
from ..emo_core.preflight.disk import least_frame_bytes
from ..emo_core.preflight.findings import (
    REFUSED,
    DiskUse,
    Finding,
    free_bytes,
    judge_disks,
    judge_memory,
    worst,
)
from ..emo_core.preflight.plan import FilmPlan, first_part
from ..emo_core.preflight.report import VERDICTS, Report
from ..emo_core.preflight.scratch import time_writing
from ..emo_core.store.clips import LARGEST_BYTES
from ..emo_core.video.median import MedianFilter
from ..emo_core.video.writer import AAC_MAX_BIT_RATE, Mp4Writer
from .film import FilmToSample, assemble
from .guider import ClipGuider
from .network import CLIP_KEY
from .paths import store_path, temp_folder
from .sampling import AUTO, core_schedule, film_inputs, guidance_input
from .shown import show_text
from .solvers import OWN_SOLVERS, own_schedule
from .vae import check_vae

WARN, STOP = "warn", "stop"
WEIGHTS = {"reference_weight": 1.0, "audio_weight": 1.0, "speed_weight": 1.0}
"""No weight changes what a step costs."""
STEREO_BYTES_PER_S = 2 * AAC_MAX_BIT_RATE / 8
"""The most that the film's sound takes."""
GIGABYTE = 10**9
IMAGE_BYTES = 12
"""Per pixel and frame of IMAGE."""
SIZE_ADVICE = "Encode the portrait at a smaller size in 'EMO Reference Encode'"
MEMORY_ADVICE = f"{SIZE_ADVICE}, or end other programs."
DECODING_ADVICE = "ComfyUI may then decode in tiles, which is slower."
IMAGE_ADVICE = "Leave IMAGE of 'EMO Clip Stitcher' unconnected: VIDEO needs no memory per frame."
DISK_ADVICE = (
    "Free some space, start ComfyUI with --output-directory and --temp-directory on other disks, "
    "or make a smaller or a shorter film."
)


class Preflight(io.ComfyNode):
    NAME = "EMO Pre-flight"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_Preflight",
            display_name=cls.NAME,
            category="EMO/sampling",
            description="Says how long the film will take and whether memory and disk have room "
            "for it, from a few steps that it really samples. Runs before the sampler, or alone.",
            search_aliases=["estimate", "how long", "out of memory", "vram", "benchmark"],
            is_output_node=True,
            inputs=[
                *film_inputs(),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Denoising steps that the film will get. 0 takes the checkpoint's own "
                    "number. Only three are sampled here.",
                ),
                guidance_input(),
                io.Combo.Input(
                    "sampler_name",
                    options=[AUTO, *comfy.samplers.KSampler.SAMPLERS],
                    default=AUTO,
                    tooltip="The sampler that the film will get: some run the model twice a step. "
                    "auto takes the checkpoint's own, as in EMO Sampler.",
                ),
                io.Combo.Input(
                    "if_it_does_not_fit",
                    options=[WARN, STOP],
                    default=WARN,
                    tooltip="warn only says so; stop ends the prompt with an error, before the "
                    "sampler runs.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="The VAE of EMO Clip Stitcher. With it, decoding and writing are "
                    "measured too; without it, only sampling.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="report", tooltip="A table to read."),
                io.String.Output(
                    display_name="data",
                    tooltip="The same and more as JSON: times in seconds, sizes in bytes.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: object) -> list[int]:
        """Measure again when disks have become fuller or emptier."""
        folders = (temp_folder(), _output_folder(), store_path())
        return [free_bytes(folder) // GIGABYTE for folder in folders]

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        steps: int,
        guidance: float,
        sampler_name: str,
        if_it_does_not_fit: str,
        vae: VAE | None = None,
        **film_inputs: object,
    ) -> io.NodeOutput:
        to_sample = assemble(node=cls.NAME, model=model, **film_inputs, **WEIGHTS)
        film, defaults = to_sample.film, to_sample.film.config.sampling
        if vae is not None:
            check_vae(vae, latent_channels=film.latent_shape[0], node=cls.NAME)
        plan = FilmPlan.of(film, steps=steps or defaults.steps)
        findings = _memory_findings(model, film, plan, vae)
        costs = None
        if worst(findings) != REFUSED:
            guidance = guidance or defaults.guidance
            costs = measure(
                model, to_sample, vae, steps=plan.steps, guidance=guidance, sampler=sampler_name
            )
        findings += judge_disks(_disk_uses(plan, costs), advice=DISK_ADVICE)
        report = Report(plan=plan, costs=costs, findings=findings)
        if if_it_does_not_fit == STOP and report.verdict == REFUSED:
            raise InputError(f"{cls.NAME}: the film does not fit. {report.refusals()}")
        text = report.text()
        # The node shows twelve lines at a time, and the verdict is the last.
        show_text(f"{VERDICTS[report.verdict]}\n{text}", node_id=cls.hidden.unique_id)
        return io.NodeOutput(text, report.to_json(), ui=ui.PreviewText(text))


def measure(
    model: ModelPatcher,
    to_sample: FilmToSample,
    vae: VAE | None,
    *,
    steps: int,
    guidance: float,
    sampler: str,
) -> Costs:
    """Sample a film's first part for a few steps, decode it and write it, and time all that.

    Args:
        vae: None leaves decoding and writing out.
        steps: that the film will have.
        sampler: name of a sampler, or auto.
    """
    part = first_part(to_sample.film)
    plan = FilmPlan.of(part, steps=MEASURED_STEPS)
    guider = ClipGuider(model, dataclasses.replace(to_sample, film=part), guidance=guidance)
    solver = part.config.sampling.solver
    if sampler == AUTO and solver in OWN_SOLVERS:
        chosen, sigmas = own_schedule(model, solver=solver, steps=MEASURED_STEPS)
    else:
        # The first of more steps: the last of all is cheaper with some samplers.
        steps = max(steps, MEASURED_STEPS + 1)
        chosen, sigmas = core_schedule(model, sampler=sampler, scheduler=AUTO, steps=steps)
        sigmas = sigmas[: MEASURED_STEPS + 1]
    empty = torch.zeros(
        (part.num_frames, *part.latent_shape), device=comfy.model_management.intermediate_device()
    )
    progress = comfy.utils.ProgressBar(plan.num_steps)
    clock = StepClock(plan)

    def on_step(step: int, x0: Tensor, x: Tensor, total: int) -> None:
        clock.tick(step, x0)
        progress.update_absolute(step + 1, plan.num_steps)

    noise = comfy.sample.prepare_noise(empty, 0)
    samples = guider.sample(
        noise, empty, chosen, sigmas, callback=on_step, disable_pbar=True, seed=0
    )
    costs = Costs(
        prepare_s=0.0, sampling=clock.costs(), decode_s=None, write_s=None, frame_bytes=None
    )
    return costs if vae is None else _with_film(costs, part, samples, vae)


def _with_film(costs: Costs, film: Film, samples: Tensor, vae: VAE) -> Costs:
    """Decode latents (F, C, h, w) and write them, too."""
    samples = samples.to(comfy.model_management.intermediate_device())
    vae.decode(samples[:1])  # Loads it.
    begun_s = time.perf_counter()
    frames_FHW3 = vae.decode(samples)
    if film.config.sampling.has_median_filter:
        median = MedianFilter()
        frames_FHW3 = torch.cat([median.push(frames_FHW3), median.finish()])
    decode_s = (time.perf_counter() - begun_s) / len(frames_FHW3)

    def open_scratch(path: Path, num_frames: int) -> Mp4Writer:
        height, width = frames_FHW3.shape[1:3]
        return Mp4Writer(
            path.with_suffix(".mp4"),
            fps=film.fps,
            width=width,
            height=height,
            num_frames=num_frames,
        )

    write_s, frame_bytes = time_writing(frames_FHW3, open_scratch)
    frame_bytes += STEREO_BYTES_PER_S / film.fps
    return dataclasses.replace(costs, decode_s=decode_s, write_s=write_s, frame_bytes=frame_bytes)


def _memory_findings(
    model: ModelPatcher, film: Film, plan: FilmPlan, vae: VAE | None
) -> list[Finding]:
    """What ComfyUI expects sampling, decoding and IMAGE to need."""
    clip = film.clip(range(plan.clip_frames), motion=None)
    conditions = {
        "positive": [{CLIP_KEY: clip}],
        "negative": [{CLIP_KEY: clip.unconditional()}],
    }
    shape = [plan.clip_frames, *film.latent_shape]
    usual, least = comfy.sampler_helpers.estimate_memory(model, shape, conditions)
    found = [
        _judged(
            "sampling",
            model,
            working_bytes=round(usual) + plan.growing_bytes,
            least_bytes=round(least) + plan.growing_bytes,
            advice=MEMORY_ADVICE,
        )
    ]
    if vae is not None:
        working = round(vae.memory_used_decode((1, *film.latent_shape), vae.vae_dtype))
        found.append(
            _judged(
                "decoding",
                vae.patcher,
                working_bytes=working,
                least_bytes=0,
                advice=DECODING_ADVICE,
            )
        )
        cpu = torch.device("cpu")
        image = judge_memory(
            "RAM for IMAGE",
            needed_bytes=plan.pixels * IMAGE_BYTES,
            available_bytes=comfy.model_management.get_free_memory(cpu),
            total_bytes=comfy.model_management.get_total_memory(cpu),
            parts="only where IMAGE of 'EMO Clip Stitcher' is connected",
            advice=IMAGE_ADVICE,
            least_bytes=0,
        )
        found.append(image)
    return found


def _judged(
    work: str, patcher: ModelPatcher, *, working_bytes: int, least_bytes: int, advice: str
) -> Finding:
    """Compare with the memory of a network's device. Weights can be streamed to a card."""
    device = patcher.load_device
    is_cpu = comfy.model_management.is_device_cpu(device)
    weights = 0 if is_cpu else patcher.model_size()  # In RAM they are already.
    loaded = 0 if is_cpu else patcher.loaded_size()
    return judge_memory(
        f"{'RAM' if is_cpu else 'VRAM'} for {work}",
        needed_bytes=working_bytes + weights,
        available_bytes=comfy.model_management.get_free_memory(device) + loaded,
        total_bytes=comfy.model_management.get_total_memory(device),
        parts="by ComfyUI's estimate" if is_cpu else "by ComfyUI's estimate, with all weights",
        advice=advice,
        least_bytes=least_bytes,
    )


def _disk_uses(plan: FilmPlan, costs: Costs | None) -> list[DiskUse]:
    """The stitcher's film with the latents' file and the copy that can be watched meanwhile, and
    the copy that 'Save Video' makes of it; the sampling node's clip store."""
    frame_bytes = None if costs is None else costs.frame_bytes
    if frame_bytes is None:
        frame_bytes = least_frame_bytes(plan, is_mp4=True)
    film = round(plan.num_frames * frame_bytes)
    latents = plan.num_frames * plan.latent_bytes
    return [
        DiskUse(folder=temp_folder(), what="film in temp", num_bytes=2 * film + latents),
        DiskUse(folder=_output_folder(), what="saved film", num_bytes=film),
        DiskUse(
            folder=store_path(), what="clip store", num_bytes=min(plan.store_bytes, LARGEST_BYTES)
        ),
    ]


def _output_folder() -> Path:
    return Path(folder_paths.get_output_directory())
