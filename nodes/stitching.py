"""The node at the end: latents of one or more clips become a film with sound.

Frames are decoded a few at a time and go straight to a file, so memory does not grow with the
film's length unless IMAGE is connected.

Letters: F frames, C channels, h and w rows and columns of latents, H and W of pixels, B pictures.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from comfy.sd import VAE
from comfy_api.latest import InputImpl, io, ui
from torch import Tensor

from ..emo_core.audio.waveform import Waveform
from ..emo_core.config import PIXELS_PER_LATENT
from ..emo_core.errors import InputError
from ..emo_core.evaluation.meters import FilmMeters
from ..emo_core.video.colour import ColourMatch
from ..emo_core.video.images import Fit
from ..emo_core.video.joining import joined_frames, joined_length, joined_sound
from ..emo_core.video.median import median_filtered
from ..emo_core.video.writer import Mp4Writer
from .decoding import check_samples, clips_of, decoded, frame_rate, temp_film, with_progress
from .latents import FPS_KEY, MEDIAN_KEY, Latent
from .meters import film_meters
from .sampling import AUTO
from .shown import show_text
from .sound import AudioDict, audio_of, cut_or_padded, waveform_of
from .streaming import file_inputs
from .types import Reference, ReferenceType

NODE_ID = "EMO_ClipStitcher"
IMAGE_SLOT = 1
"""Place of IMAGE among the outputs."""
CONNECTED_KEY = "image_is_connected"
MOST_CLIPS = 50
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
                        max=MOST_CLIPS,
                    ),
                ),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the checkpoint."),
                *file_inputs(),
                io.Combo.Input(
                    "smoothing",
                    options=[AUTO, "none", "median"],
                    default=AUTO,
                    optional=True,
                    advanced=True,
                    tooltip="median takes the flicker out of single frames and some sharpness with "
                    "it; auto does so for V-Express, as its authors do.",
                ),
                io.Int.Input(
                    "crossfade",
                    default=0,
                    min=0,
                    max=250,
                    optional=True,
                    advanced=True,
                    tooltip="Frames that neighbouring clips share: one fades into the other, and "
                    "the film is that much shorter at every joint. 0 joins without.",
                ),
                io.Autogrow.Input(
                    "audios",
                    template=io.Autogrow.TemplatePrefix(
                        io.Audio.Input(
                            "audio",
                            tooltip="Sound of the latent of the same number, instead of audio.",
                        ),
                        prefix="audio_",
                        min=0,
                        max=MOST_CLIPS,
                    ),
                    optional=True,
                ),
                io.Image.Input(
                    "match_to",
                    optional=True,
                    tooltip="The portrait: the film's colours and brightness are kept where it has "
                    "them, against drift over many clips.",
                ),
                io.Float.Input(
                    "match_strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    advanced=True,
                    tooltip="How far colours go to those of match_to: 0 not at all, 1 wholly.",
                ),
                ReferenceType.Input(
                    "measure",
                    optional=True,
                    tooltip="From EMO Reference Encode: every clip is measured against it, for "
                    "likeness, colours and seams; for drawn faces also for lip sync to audio.",
                ),
            ],
            outputs=[
                io.Video.Output(tooltip="For Save Video; it is not encoded again there."),
                io.Image.Output(
                    tooltip="All frames, for upscalers and face restorers. Made only when "
                    "connected: it needs 12 bytes of memory per pixel and frame."
                ),
                io.Audio.Output(tooltip="The sound at exactly the film's length."),
                io.String.Output(
                    display_name="meters", tooltip="What measure found, as JSON; else empty."
                ),
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
        crossfade: int = 0,
        audios: dict[str, AudioDict] | None = None,
        match_to: Tensor | None = None,
        match_strength: float = 1.0,
        measure: Reference | None = None,
    ) -> io.NodeOutput:
        connected = {name: latent for name, latent in latents.items() if latent is not None}
        clips = cls._clips(list(connected.values()), vae)
        noted = next(iter(connected.values()))
        rate = cls._rate(list(connected.values()), fps)
        lengths = [len(clip) for clip in clips]
        num_frames = joined_length(lengths, crossfade=crossfade)
        if audio is None:
            sounds = cls._sounds(audios or {}, list(connected))
            sound = joined_sound(sounds, lengths, crossfade=crossfade, fps=rate) if sounds else None
        else:
            cls._check_alone(audios or {})
            sound = cut_or_padded(waveform_of(audio, node=cls.NAME), duration_s=num_frames / rate)
        height, width = (side * PIXELS_PER_LATENT for side in clips[0].shape[-2:])
        path, shown = temp_film()
        writer = Mp4Writer(
            path, fps=rate, width=width, height=height, num_frames=num_frames, sound=sound, crf=crf
        )
        frames = decoded(clips_of(connected.values()), vae, like_FChw=clips[0])
        frames = with_progress(frames, num_frames=sum(lengths))
        frames = joined_frames(frames, lengths, crossfade=crossfade)
        if smoothing == "median" or (smoothing == AUTO and MEDIAN_KEY in noted):
            frames = median_filtered(frames)
        if match_to is not None:
            colours = cls._colours(match_to, match_strength, width=width, height=height)
            frames = map(colours.push, frames)
        meters = None
        if measure is not None:
            is_drawn = measure.net.config.front_end is not None
            voice = sound if is_drawn and audio is not None else None
            meters = film_meters(measure, lengths, fps=rate, crossfade=crossfade, voice=voice)
            frames = _measured(frames, meters)
        images = _write(writer, frames, is_kept=cls._is_image_wanted())
        reading = None if meters is None else meters.finish()
        if reading is not None:
            show_text(reading.text(), node_id=cls.hidden.unique_id)
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(path)),
            images,
            None if sound is None else audio_of(sound),
            "" if reading is None else reading.to_json(),
            ui=ui.PreviewVideo([shown]),
        )

    @classmethod
    def _clips(cls, clips: list[Latent], vae: VAE) -> list[Tensor]:
        """The latents (F, C, h, w) of each clip, checked."""
        if not clips:
            raise InputError(f"{cls.NAME}: no latent is connected. Connect the sampled film.")
        shapes = {tuple(clip["samples"].shape[1:]) for clip in clips}
        if len(shapes) > 1:
            raise InputError(
                f"{cls.NAME}: clips of different sizes are connected: {sorted(shapes)} (channels, "
                "rows, columns). Sample them with the same reference size."
            )
        samples = [clip["samples"] for clip in clips]
        check_samples(samples[0], vae, node=cls.NAME)
        return samples

    @classmethod
    def _rate(cls, clips: list[Latent], fps: float) -> float:
        """Frames per second: what was asked for, else that of the first clip."""
        noted = sorted({clip[FPS_KEY] for clip in clips if FPS_KEY in clip})
        if not fps and len(noted) > 1:
            rates = " and ".join(f"{rate:g}" for rate in noted)
            raise InputError(
                f"{cls.NAME}: clips of {rates} frames per second are connected. Expected one rate, "
                "since lips and sound of the others would drift apart; sample all clips at one, or "
                "set fps."
            )
        return frame_rate(clips[0], fps)

    @classmethod
    def _sounds(cls, audios: dict[str, AudioDict], latents: list[str]) -> list[Waveform | None]:
        """The sound of each latent, found by its number, None where it has none; [] for none."""
        by_number = {
            _number(name): waveform_of(audio, node=cls.NAME)
            for name, audio in audios.items()
            if audio is not None
        }
        numbers = [_number(name) for name in latents]
        for number in by_number:
            if number not in numbers:
                raise InputError(
                    f"{cls.NAME}: audio_{number} is connected but latent_{number} is not. Expected "
                    "a clip for every sound; connect the clip or disconnect the sound."
                )
        return [by_number.get(number) for number in numbers] if by_number else []

    @classmethod
    def _check_alone(cls, audios: dict[str, AudioDict]) -> None:
        if any(audio is not None for audio in audios.values()):
            raise InputError(
                f"{cls.NAME}: audio and audios are both connected. Expected one of them: audio is "
                "the sound of the whole film, audios that of each clip; disconnect one."
            )

    @classmethod
    def _colours(
        cls, match_to_BHWC: Tensor, strength: float, *, width: int, height: int
    ) -> ColourMatch:
        """Matches to what the film would show of the picture: cropped as a portrait is."""
        if match_to_BHWC.shape[0] != 1:
            raise InputError(
                f"{cls.NAME}: match_to is a batch of {match_to_BHWC.shape[0]} images. Expected one "
                "portrait; pick one with 'Get Image from Batch'."
            )
        picture = match_to_BHWC[0, ..., :3].float()
        fit = Fit.of(picture, width=width, height=height)
        return ColourMatch(fit.portrait(picture), strength=strength)

    @classmethod
    def _is_image_wanted(cls) -> bool:
        nodes = cls.hidden.dynprompt  # Those that other nodes expanded into are among them.
        prompt = {name: nodes.get_node(name) for name in nodes.all_node_ids()}
        return image_is_connected(prompt, str(cls.hidden.unique_id))


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


def _number(name: str) -> str:
    """Of an input that grew: 3 of latent_3."""
    return name.rpartition("_")[2]


def _measured(frames: Iterator[Tensor], meters: FilmMeters) -> Iterator[Tensor]:
    """Hand frames on and look at them."""
    for part in frames:
        meters.push(part)
        yield part


def _write(writer: Mp4Writer, frames: Iterator[Tensor], *, is_kept: bool) -> Tensor | None:
    """Stream the film to its file; return its frames (F, H, W, 3) where they are asked for."""
    images = None
    if is_kept:
        images = torch.empty((writer.num_frames, writer.height, writer.width, 3))
    with writer:
        for part in frames:
            if images is not None:
                images[writer.num_written : writer.num_written + len(part)] = part
            writer.write(part)
    return images
