"""The node that asks for a part of a film to be made again, and what the samplers make of it."""

from __future__ import annotations

import dataclasses

from comfy_api.latest import io

from ..emo_core.sampling.retake import USUAL_BLEND_FRAMES, retake_part
from .film import FilmToSample, speeds_of
from .guider import Take
from .types import RetakeType, RetakeWire, Speed, SpeedType

AS_FILM = -1.0


class Retake(io.ComfyNode):
    NAME = "EMO Retake"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_Retake",
            display_name=cls.NAME,
            category="EMO/sampling",
            description="Makes a part of the film again, with another seed or other settings; the "
            "rest stays as it is, picture for picture. For EMO Sampler or EMO Guider.",
            search_aliases=["segment", "redo", "repair", "inpaint frames"],
            inputs=[
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=86_400.0,
                    step=0.04,
                    tooltip="Second of the film at which the new take begins.",
                ),
                io.Float.Input(
                    "end",
                    default=1.0,
                    min=0.0,
                    max=86_400.0,
                    step=0.04,
                    tooltip="Second at which it ends. Behind it the new take becomes the old one.",
                ),
                io.Int.Input(
                    "seed",
                    default=1,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Another seed, another performance.",
                ),
                io.Int.Input(
                    "blend_frames",
                    default=USUAL_BLEND_FRAMES,
                    min=1,
                    max=1000,
                    advanced=True,
                    tooltip="Frames behind the end in which the new take becomes the old one.",
                ),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=0.0,
                    max=20.0,
                    step=0.1,
                    tooltip="As in the sampler. 0 keeps the film's.",
                ),
                SpeedType.Input(
                    "head_speed",
                    optional=True,
                    tooltip="From EMO Head Speed, over the whole film's length. Without it the "
                    "film's own.",
                ),
                *(
                    io.Float.Input(
                        name,
                        default=AS_FILM,
                        min=AS_FILM,
                        max=3.0,
                        step=0.05,
                        advanced=True,
                        tooltip="As in the sampler. -1 keeps the film's.",
                    )
                    for name in ("reference_weight", "audio_weight", "speed_weight")
                ),
                RetakeType.Input(
                    "previous",
                    optional=True,
                    tooltip="An EMO Retake before this one: this take is made in the film that "
                    "it leaves.",
                ),
            ],
            outputs=[RetakeType.Output(tooltip="For EMO Sampler or EMO Guider.")],
        )

    @classmethod
    def execute(
        cls,
        start: float,
        end: float,
        seed: int,
        blend_frames: int,
        guidance: float,
        reference_weight: float,
        audio_weight: float,
        speed_weight: float,
        head_speed: Speed | None = None,
        previous: tuple[RetakeWire, ...] = (),
    ) -> io.NodeOutput:
        given = {"reference": reference_weight, "audio": audio_weight, "speed": speed_weight}
        retake = RetakeWire(
            start_s=start,
            end_s=end,
            seed=seed,
            blend_frames=blend_frames,
            guidance=guidance or None,
            head_speed=head_speed,
            weights={name: weight for name, weight in given.items() if weight >= 0.0},
        )
        return io.NodeOutput((*previous, retake))


def takes_of(
    retakes: tuple[RetakeWire, ...], to_sample: FilmToSample, *, guidance: float, node: str
) -> list[Take]:
    """What the guider is to make again.

    Raises:
        InputError: a part that is not inside the film, or a speed that it cannot have.
    """
    film, takes = to_sample.film, []
    for retake in retakes:
        part = retake_part(
            retake.start_s,
            retake.end_s,
            fps=film.fps,
            num_frames=film.num_frames,
            blend_frames=retake.blend_frames,
        )
        changes = {"weights": dataclasses.replace(film.weights, **retake.weights)}
        if retake.head_speed is not None:
            changes["speed_deg_s_F"] = speeds_of(
                retake.head_speed,
                film.config,
                num_frames=film.num_frames,
                fps=film.fps,
                node=node,
            )
        takes.append(
            Take(
                film=dataclasses.replace(film, **changes),
                part=part,
                guidance=retake.guidance or guidance,
                seed=retake.seed,
            )
        )
    return takes
