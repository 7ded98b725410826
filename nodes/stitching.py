"""The node at the end: latents of one or more clips become a film with sound.

Frames are decoded a few at a time and go straight to a file, so memory does not grow with the
film's length unless IMAGE is connected.

Letters: F frames, C channels, h and w rows and columns of latents, H and W of pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import comfy.utils
import torch
from comfy.sd import VAE
from comfy_api.latest import InputImpl, io, ui
from torch import Tensor

from ..emo_core.audio.waveform import Waveform
from ..emo_core.config import PIXELS_PER_LATENT
from ..emo_core.errors import InputError
from ..emo_core.video.writer import Mp4Writer
from .decoding import check_samples, decoded, frame_rate, temp_film
from .sampling import AUTO, MEDIAN_KEY, Latent
from .sound import AudioDict, audio_of, cut_or_padded, waveform_of

NODE_ID = "EMO_ClipStitcher"
IMAGE_SLOT = 1
"""Place of IMAGE among the outputs."""
CONNECTED_KEY = "image_is_connected"
Prompt = dict[str, dict]


class ClipStitcher(io.ComfyNode):
    NAME = "EMO Clip Stitcher"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=NODE_ID,
            display_name=cls.NAME,
            category="EMO/video",
            description="Decodes the film, writes it to a file while it goes, and joins the sound. "
            "Several clips are joined in order.",
            search_aliases=["decode", "combine video", "vae decode", "save video"],
            inputs=[
                io.Autogrow.Input(
                    "latents",
                    template=io.Autogrow.TemplatePrefix(
                        io.Latent.Input("latent", tooltip="A sampled film, or clips in order."),
                        prefix="latent_",
                        min=1,
                        max=50,
                    ),
                ),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the checkpoint."),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="Sound of the film: the voice, or a mix with music. Cut or followed by "
                    "silence to the film's length.",
                ),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=120.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Frames per second. 0 takes the rate that the voice was encoded for.",
                ),
                io.Int.Input(
                    "crf",
                    default=18,
                    min=0,
                    max=51,
                    advanced=True,
                    tooltip="H.264 quality: 0 is lossless, 18 looks lossless, 28 is small.",
                ),
                io.Combo.Input(
                    "smoothing",
                    options=[AUTO, "none", "median"],
                    default=AUTO,
                    optional=True,
                    advanced=True,
                    tooltip="median takes the flicker out of single frames and some sharpness with "
                    "it; auto does so for V-Express, as its authors do.",
                ),
            ],
            outputs=[
                io.Video.Output(tooltip="For Save Video; it is not encoded again there."),
                io.Image.Output(
                    tooltip="All frames, for upscalers and face restorers. Made only when "
                    "connected: it needs 12 bytes of memory per pixel and frame."
                ),
                io.Audio.Output(tooltip="The sound at exactly the film's length."),
            ],
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls,
        latents: dict[str, Latent],
        vae: VAE,
        fps: float,
        crf: int,
        audio: AudioDict | None = None,
        smoothing: str = AUTO,
    ) -> io.NodeOutput:
        clips = [latent for latent in latents.values() if latent is not None]
        samples = cls._joined(clips, vae)
        rate = frame_rate(clips[0], fps)
        sound = None
        if audio is not None:
            duration_s = len(samples) / rate
            sound = cut_or_padded(waveform_of(audio, node=cls.NAME), duration_s=duration_s)
        nodes = cls.hidden.dynprompt  # Those that other nodes expanded into are among them.
        prompt = {name: nodes.get_node(name) for name in nodes.all_node_ids()}
        is_kept = image_is_connected(prompt, str(cls.hidden.unique_id))
        path, shown = temp_film()
        is_smoothed = smoothing == "median" or (smoothing == AUTO and MEDIAN_KEY in clips[0])
        frames = decoded(samples, vae, is_smoothed=is_smoothed)
        images = _write(path, samples, frames, fps=rate, crf=crf, sound=sound, is_kept=is_kept)
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(path)),
            images,
            None if sound is None else audio_of(sound),
            ui=ui.PreviewVideo([shown]),
        )

    @classmethod
    def _joined(cls, clips: list[Latent], vae: VAE) -> Tensor:
        if not clips:
            raise InputError(f"{cls.NAME}: no latent is connected. Connect the sampled film.")
        shapes = {tuple(clip["samples"].shape[1:]) for clip in clips}
        if len(shapes) > 1:
            raise InputError(
                f"{cls.NAME}: clips of different sizes are connected: {sorted(shapes)} (channels, "
                "rows, columns). Sample them with the same reference size."
            )
        samples = torch.cat([clip["samples"] for clip in clips])
        check_samples(samples, vae, node=cls.NAME)
        return samples


def image_is_connected(prompt: Prompt, unique_id: str) -> bool:
    """Whether a node of the prompt reads this stitcher's IMAGE."""
    return any(
        value == [unique_id, IMAGE_SLOT]
        for node in prompt.values()
        for value in node.get("inputs", {}).values()
        if isinstance(value, list)
    )


def mark_connected_images(request: dict) -> dict:
    """Note in every stitcher of a submitted prompt whether its IMAGE is connected.

    ComfyUI keeps a node's outputs as long as its inputs stay the same. With this note among them,
    connecting IMAGE afterwards makes the frames instead of handing on that there are none.
    """
    prompt: Prompt = request.get("prompt", {})
    for unique_id, node in prompt.items():
        if isinstance(node, dict) and node.get("class_type") == NODE_ID:
            node.setdefault("inputs", {})[CONNECTED_KEY] = image_is_connected(prompt, unique_id)
    return request


def _write(
    path: Path,
    samples: Tensor,
    frames: Iterator[Tensor],
    *,
    fps: float,
    crf: int,
    sound: Waveform | None,
    is_kept: bool,
) -> Tensor | None:
    """Stream the film to a file, with progress; return its frames (F, H, W, 3) where asked for."""
    num_frames = len(samples)
    height, width = (side * PIXELS_PER_LATENT for side in samples.shape[-2:])
    images = torch.empty((num_frames, height, width, 3)) if is_kept else None
    writer = Mp4Writer(
        path, fps=fps, width=width, height=height, num_frames=num_frames, sound=sound, crf=crf
    )
    progress = comfy.utils.ProgressBar(num_frames)
    first = 0
    with writer:
        for part in frames:
            writer.write(part)
            if images is not None:
                images[first : first + len(part)] = part
            first += len(part)
            progress.update(len(part))
    return images
