"""The node of one weak condition: how fast the head turns."""

from __future__ import annotations

import numpy as np
import torch
from comfy_api.input import CurveInput
from comfy_api.latest import io

from ..emo_core.errors import InputError
from ..emo_core.face.motion import nearest_rotations
from ..emo_core.face.track import SpeedTrack
from .detected import first_faces
from .types import ONLY_A_SOCKET, FaceLandmarksType, Speed, SpeedType

CURVE_POINTS = 1024
"""A drawn curve is read at so many places along the film."""


class HeadSpeed(io.ComfyNode):
    NAME = "EMO Head Speed"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_HeadSpeed",
            display_name=cls.NAME,
            category="EMO/conditioning",
            description="How fast the head turns: one speed, a curve over the film, or the head of "
            "a driving video.",
            search_aliases=["head motion", "movement", "motion amount"],
            inputs=[
                io.Float.Input(
                    "speed",
                    default=12.0,
                    min=0.0,
                    max=180.0,
                    step=0.5,
                    tooltip="Degrees per second. 5 is still, 12 calm, 30 lively. With a curve, the "
                    "speed at the curve's top.",
                ),
                io.Custom("CURVE").Input(
                    "curve",
                    optional=True,
                    extra_dict=ONLY_A_SOCKET,
                    tooltip="From Curve Editor: left to right is the film, bottom to top is 0 to "
                    "the speed.",
                ),
                FaceLandmarksType.Input(
                    "landmarks",
                    optional=True,
                    tooltip="A driving video's face from Detect Face Landmarks (MediaPipe); its "
                    "head speed is taken over.",
                ),
                io.Float.Input(
                    "landmarks_fps",
                    default=25.0,
                    min=1.0,
                    max=240.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Frames per second of the driving video.",
                ),
                io.Float.Input(
                    "landmarks_scale",
                    default=1.0,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    advanced=True,
                    tooltip="Factor on the driving video's speed. Start with 1.",
                ),
                io.Float.Input(
                    "smoothing",
                    default=0.2,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    advanced=True,
                    tooltip="Seconds over which the driving video's speed is averaged; landmarks "
                    "tremble.",
                ),
            ],
            outputs=[SpeedType.Output("head_speed", display_name="head_speed")],
        )

    @classmethod
    def execute(
        cls,
        speed: float,
        landmarks_fps: float,
        landmarks_scale: float,
        smoothing: float,
        curve: CurveInput | None = None,
        landmarks: dict | None = None,
    ) -> io.NodeOutput:
        if curve is not None and landmarks is not None:
            raise InputError(
                f"{cls.NAME}: a curve and landmarks are connected. Expected one of them at most; "
                "disconnect the other."
            )
        if curve is not None:
            places = (np.arange(CURVE_POINTS) + 0.5) / CURVE_POINTS
            heights = CurveInput.from_raw(curve).interp_array(places).clip(0.0, 1.0)
            track = SpeedTrack(torch.from_numpy(heights * speed).float())
        elif landmarks is not None:
            poses = first_faces(
                landmarks,
                lambda face: np.asarray(face["transformation_matrix"]),
                node=cls.NAME,
                otherwise="a curve",
            )
            rotations = nearest_rotations(np.stack(poses))
            track = SpeedTrack.of_rotations(rotations, fps=landmarks_fps, smooth_s=smoothing)
            track = SpeedTrack(track.values_deg_s_K * landmarks_scale, fps=track.fps)
        else:
            track = SpeedTrack.steady(speed)
        return io.NodeOutput(Speed(track=track))
