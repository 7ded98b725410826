"""The node for one clip: conditions for a stock KSampler."""

from __future__ import annotations

import comfy.model_management
from comfy_api.latest import io
from torch import Tensor

from ..emo_core.errors import InputError
from ..emo_core.models.reference import MotionReading
from .film import FilmToSample, assemble
from .latents import Latent, empty_latent
from .network import CLIP_KEY
from .sampling import film_inputs, weight_inputs


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
        motion = cls._motion(to_sample, previous)
        # What comes before a later window is not known: it begins as the film does.
        begins = motion if previous is None else cls._motion(to_sample, None)
        clip = film.clip(
            range(first_frame, first_frame + frames), motion=motion, windows_motion=begins
        )
        positive = [[None, {CLIP_KEY: clip}]]
        negative = [[None, {CLIP_KEY: clip.unconditional()}]]
        return io.NodeOutput(positive, negative, empty_latent(film, frames))

    @classmethod
    def _motion(cls, to_sample: FilmToSample, previous: Latent | None) -> MotionReading | None:
        if previous is not None and not to_sample.film.num_motion_frames:
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
            num_frames = to_sample.film.num_motion_frames
            if len(samples) < num_frames:
                raise InputError(
                    f"{cls.NAME}: previous has {len(samples)} frames. Expected at least "
                    f"{num_frames}, which lead the next clip."
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
