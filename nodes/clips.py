"""A pair of nodes round any part of a graph that works on frames: the part runs clip by clip.

Between sampler and film, so that upscaling or restoring a long film takes the memory of one clip.

Letters: F frames, H and W rows and columns of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import comfy.utils
from comfy.sd import VAE
from comfy_api.latest import InputImpl, io, ui
from comfy_execution.graph_utils import GraphBuilder, is_link
from comfy_execution.utils import get_executing_context
from torch import Tensor

from ..emo_core.audio.waveform import Waveform
from ..emo_core.errors import InputError
from ..emo_core.video.median import median_filtered
from ..emo_core.video.writer import Mp4Writer
from .decoding import check_samples, clips_of, decoded, frame_rate, regrouped, temp_film
from .latents import MEDIAN_KEY, Latent
from .part import Part, PartRunner, Values, find_part
from .sound import AudioDict, audio_of, cut_or_padded, waveform_of
from .streaming import file_inputs
from .types import Clips, ClipsType

BEGIN_ID = "EMO_ClipsBegin"
END_ID = "EMO_ClipsEnd"
RUN_ID = "EMO_ClipsRun"
DEFAULT_FRAMES = 16
MAX_FRAMES = 4096
OUTSIDE_PREFIX = "outside_"


@dataclass(frozen=True)
class Work:
    """What EMO Clips End asks of the node that it expands into."""

    clips: Clips
    part: Part
    sound: Waveform | None
    """As long as the film."""
    fps: float
    crf: int


class ClipsBegin(io.ComfyNode):
    NAME = "EMO Clips Begin"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=BEGIN_ID,
            display_name=cls.NAME,
            category="EMO/video",
            description="Begins a part of the graph that runs clip by clip, in the memory of one "
            "clip: upscalers, face restorers. EMO Clips End ends it.",
            search_aliases=["loop", "for each clip", "batch", "upscale video", "low memory"],
            inputs=[
                io.Latent.Input("latent", tooltip="The sampled film."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the checkpoint."),
                io.Int.Input(
                    "frames_per_clip",
                    default=0,
                    min=0,
                    max=MAX_FRAMES,
                    tooltip="How many frames go through the part at once; memory grows with it. 0 "
                    f"takes {DEFAULT_FRAMES}.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="frames",
                    tooltip="Frames of one clip after the other. Nodes that EMO Clips End does not "
                    "need, such as Preview Image, see the first clip only.",
                ),
                ClipsType.Output(display_name="clips", tooltip="For EMO Clips End."),
            ],
        )

    @classmethod
    def execute(cls, latent: Latent, vae: VAE, frames_per_clip: int) -> io.NodeOutput:
        check_samples(latent["samples"], vae, node=cls.NAME)
        clips = Clips(latent, vae, frames_per_clip or DEFAULT_FRAMES)
        return io.NodeOutput(next(_frames_of(clips)), clips)


class ClipsEnd(io.ComfyNode):
    NAME = "EMO Clips End"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=END_ID,
            display_name=cls.NAME,
            category="EMO/video",
            description="Runs the nodes between EMO Clips Begin and itself for every clip of the "
            "film, writes the frames to a file while it goes, and joins the sound.",
            search_aliases=["loop", "for each clip", "combine video", "upscale video"],
            inputs=[
                ClipsType.Input(
                    "clips", tooltip="Of the EMO Clips Begin that the images go back to."
                ),
                io.Image.Input(
                    "images",
                    lazy=True,
                    raw_link=True,
                    tooltip="Frames after the last node of the part. Every clip must come out with "
                    "as many as went in, and of one size.",
                ),
                *file_inputs(),
            ],
            outputs=[
                io.Video.Output(tooltip="For Save Video; it is not encoded again there."),
                io.Audio.Output(tooltip="The sound at exactly the film's length."),
            ],
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
            enable_expand=True,
        )

    @classmethod
    def execute(
        cls,
        clips: Clips,
        images: list,
        fps: float,
        crf: int,
        audio: AudioDict | None = None,
    ) -> io.NodeOutput:
        prompt = cls.hidden.dynprompt
        begin = prompt.get_node(str(cls.hidden.unique_id))["inputs"]["clips"]
        if not is_link(begin) or prompt.get_node(begin[0])["class_type"] != BEGIN_ID:
            raise InputError(
                f"{cls.NAME}: clips comes from another node than {ClipsBegin.NAME}. Expected its "
                "clips output; connect the two directly."
            )
        end = (images[0], int(images[1]))
        part = find_part(prompt, begin=begin[0], end=end, end_type=END_ID, name=cls.NAME)
        rate = frame_rate(clips.latent, fps)
        sound = None
        if audio is not None:
            duration_s = len(clips.latent["samples"]) / rate
            sound = cut_or_padded(waveform_of(audio, node=cls.NAME), duration_s=duration_s)
        graph = GraphBuilder()
        outside = {f"{OUTSIDE_PREFIX}{i}": list(link) for i, link in enumerate(part.outside)}
        run = graph.node(RUN_ID, work=Work(clips, part, sound, rate, crf), **outside)
        return io.NodeOutput(run.out(0), run.out(1), expand=graph.finalize())


class ClipsRun(io.ComfyNode):
    NAME = "EMO Clips Run"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=RUN_ID,
            display_name=cls.NAME,
            category="EMO/video",
            description="What EMO Clips End becomes while it runs. Not to be placed by hand.",
            outputs=[io.Video.Output(), io.Audio.Output()],
            hidden=[io.Hidden.dynprompt, io.Hidden.extra_pnginfo],
            is_dev_only=True,
            # Lists come whole, so that the part's nodes see them as they would anywhere.
            is_input_list=True,
            accept_all_inputs=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: object) -> float:
        """Never from the cache: EMO Clips End is, and knows all that the part reads."""
        return math.nan

    @classmethod
    async def execute(cls, work: list[Work], **outside: Values) -> io.NodeOutput:
        (work,) = work
        runner = PartRunner(
            work.part,
            cls.hidden.dynprompt,
            outside=[outside[f"{OUTSIDE_PREFIX}{i}"] for i in range(len(work.part.outside))],
            prompt_id=get_executing_context().prompt_id,
            extra_data={"extra_pnginfo": cls.hidden.extra_pnginfo},
        )
        path, shown = temp_film()
        await _write(path, work, runner)
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(path)),
            None if work.sound is None else audio_of(work.sound),
            ui=ui.PreviewVideo([shown]),
        )


async def _write(path: Path, work: Work, runner: PartRunner) -> None:
    """Send the film through the part and into a file, with progress."""
    clips, num_frames = work.clips, len(work.clips.latent["samples"])
    num_clips = math.ceil(num_frames / clips.frames_per_clip)
    progress = comfy.utils.ProgressBar(num_clips)
    writer = None
    with ExitStack() as stack:
        for index, frames in enumerate(_frames_of(clips)):
            first, num_new = index * clips.frames_per_clip, len(frames)
            where = f"clip {index + 1} of {num_clips} (frames {first + 1} to {first + num_new})"
            images = _only(await runner.run([frames, clips], where=where), where=where)
            size = None if writer is None else (writer.height, writer.width)
            _check_images(images, num_frames=num_new, size=size, where=where)
            if writer is None:
                writer = Mp4Writer(
                    path,
                    fps=work.fps,
                    width=images.shape[2],
                    height=images.shape[1],
                    num_frames=num_frames,
                    sound=work.sound,
                    crf=work.crf,
                )
                stack.enter_context(writer)
            writer.write(images)
            del frames, images  # Not to be held while the next clip is decoded.
            progress.update(1)


def _frames_of(clips: Clips) -> Iterator[Tensor]:
    """Decode the film, one clip (F, H, W, 3) after the other."""
    parts = decoded(clips_of([clips.latent]), clips.vae, like_FChw=clips.latent["samples"])
    if MEDIAN_KEY in clips.latent:
        parts = median_filtered(parts)
    return regrouped(parts, clips.frames_per_clip)


def _only(images: Values, *, where: str) -> Tensor:
    if len(images) != 1:
        raise InputError(
            f"{ClipsEnd.NAME}: the part gave a list of {len(images)} IMAGEs for {where}. Expected "
            "one; put 'Rebatch Images' with batch_size 4096 before this node."
        )
    if not isinstance(images[0], Tensor):
        raise InputError(
            f"{ClipsEnd.NAME}: the part gave no frames for {where}; one of its nodes blocks what "
            "is behind it. Expected frames; take switches that block out of the part."
        )
    return images[0]


def _check_images(
    images: Tensor, *, num_frames: int, size: tuple[int, int] | None, where: str
) -> None:
    """Compare processed frames with what went into the part and with the film so far."""
    if len(images) != num_frames or images.shape[-1] != 3:
        raise InputError(
            f"{ClipsEnd.NAME}: the part gave {len(images)} frames of {images.shape[-1]} channels "
            f"for {where}. Expected {num_frames} of 3; take nodes out of the part that add, drop "
            "or join frames, or that make them transparent."
        )
    if size is not None and tuple(images.shape[1:3]) != size:
        raise InputError(
            f"{ClipsEnd.NAME}: the part gave frames of {images.shape[2]}x{images.shape[1]} pixels "
            f"for {where}, and {size[1]}x{size[0]} before. Expected one size; end the part with a "
            "node that scales to a fixed size."
        )
