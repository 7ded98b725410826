"""Nodes of the two weak conditions: where the face may be, and how fast the head turns."""

from __future__ import annotations

import numpy as np
import torch
from comfy_api.input import CurveInput
from comfy_api.latest import io
from torch import Tensor

from ..emo_core.errors import InputError
from ..emo_core.face.motion import nearest_rotations
from ..emo_core.face.region import DEFAULT_BOX, box_to_mask, boxes_to_mask, feather_mask, grow_mask
from ..emo_core.face.track import SpeedTrack
from .types import (
    BoundingBoxType,
    FaceLandmarksType,
    FaceRegion,
    FaceRegionType,
    Reference,
    ReferenceType,
    Speed,
    SpeedType,
)

Box = dict[str, float]
ONLY_A_SOCKET = {"forceInput": True}
"""The front end draws a widget with a value of its own for boxes and curves unless told not to."""
CURVE_POINTS = 1024
"""A drawn curve is read at so many places along the film."""


class FaceRegionNode(io.ComfyNode):
    NAME = "EMO Face Region"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_FaceRegion",
            display_name=cls.NAME,
            category="EMO/conditioning",
            description="Where the face may move: a mask, a detector's box or landmarks; with none "
            "of them the place of a usual portrait's face. A larger region lets the head move "
            "further.",
            search_aliases=["face mask", "face locator", "bounding box"],
            inputs=[
                ReferenceType.Input(
                    "reference", tooltip="Says the film's size and how the portrait was cropped."
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Painted over the portrait; white is where the face may be.",
                ),
                BoundingBoxType.Input(
                    "boxes",
                    optional=True,
                    extra_dict=ONLY_A_SOCKET,
                    tooltip="Boxes on the portrait from a face detector; all of them together.",
                ),
                FaceLandmarksType.Input(
                    "landmarks",
                    optional=True,
                    tooltip="Faces on the portrait from Detect Face Landmarks (MediaPipe).",
                ),
                io.Float.Input(
                    "growth",
                    default=0.1,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="Widens mask, boxes or landmarks on every side, in parts of their own "
                    "size. 0.1 is calm, 0.3 lets the head swing.",
                ),
                io.Int.Input(
                    "feather",
                    default=0,
                    min=0,
                    max=256,
                    advanced=True,
                    tooltip="Softens the edge over so many pixels of the film. Start with 0.",
                ),
            ],
            outputs=[
                FaceRegionType.Output("face_region", display_name="face_region"),
                io.Mask.Output(
                    "region_mask", display_name="mask", tooltip="The region, to look at."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        reference: Reference,
        growth: float,
        feather: int,
        mask: Tensor | None = None,
        boxes: list | Box | None = None,
        landmarks: dict | None = None,
    ) -> io.NodeOutput:
        given = [name for name, value in _named(mask, boxes, landmarks) if value is not None]
        if len(given) > 1:
            raise InputError(
                f"{cls.NAME}: {' and '.join(given)} are connected. Expected one of them at most; "
                "disconnect the others."
            )
        fit = reference.fit
        if not given:
            region = box_to_mask(DEFAULT_BOX, height=fit.height, width=fit.width)
        elif mask is not None:
            drawn = mask.reshape(-1, *mask.shape[-2:]).amax(dim=0).float().cpu()
            region = grow_mask(fit.mask(drawn), growth=growth)
        else:
            found = _pixel_boxes(boxes) if landmarks is None else _face_boxes(landmarks)
            region = fit.mask(cls._boxes_mask(found, reference, growth=growth))
        if not (region > 0.5).any():
            raise InputError(
                f"{cls.NAME}: the region is empty once the portrait is cropped to {fit.width}x"
                f"{fit.height}. Draw it over the face, or change the crop of the reference."
            )
        region = feather_mask(region, radius=feather).clamp(0.0, 1.0)
        return io.NodeOutput(FaceRegion(mask_HW=region), region[None])

    @classmethod
    def _boxes_mask(
        cls, boxes_xyxy: list[list[float]], reference: Reference, *, growth: float
    ) -> Tensor:
        if not boxes_xyxy:
            raise InputError(
                f"{cls.NAME}: no face was found in the portrait. Use a clearer portrait, paint a "
                "mask, or disconnect the detector to take a usual portrait's place."
            )
        fit = reference.fit
        size = torch.tensor(
            [fit.source_width, fit.source_height, fit.source_width, fit.source_height]
        )
        return boxes_to_mask(
            torch.tensor(boxes_xyxy) / size,
            height=fit.source_height,
            width=fit.source_width,
            growth=growth,
        )


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
            rotations = nearest_rotations(cls._poses(landmarks))
            track = SpeedTrack.of_rotations(rotations, fps=landmarks_fps, smooth_s=smoothing)
            track = SpeedTrack(track.values_deg_s_K * landmarks_scale, fps=track.fps)
        else:
            track = SpeedTrack.steady(speed)
        return io.NodeOutput(Speed(track=track))

    @classmethod
    def _poses(cls, landmarks: dict) -> np.ndarray:
        """The first face's pose in every frame; where none was found the last one is held."""
        faces = [
            frame[0]["transformation_matrix"] if frame else None for frame in landmarks["frames"]
        ]
        seen = [pose for pose in faces if pose is not None]
        if not seen:
            raise InputError(
                f"{cls.NAME}: no face in {len(faces)} frames of the driving video. Use a video "
                "with a visible face, or a curve."
            )
        pose, poses = seen[0], []
        for face in faces:
            pose = pose if face is None else face
            poses.append(np.asarray(pose))
        return np.stack(poses)


def _named(
    mask: Tensor | None, boxes: list | Box | None, landmarks: dict | None
) -> list[tuple[str, object]]:
    return [("mask", mask), ("boxes", boxes), ("landmarks", landmarks)]


def _pixel_boxes(boxes: list | Box) -> list[list[float]]:
    """x0, y0, x1, y1 of all boxes; core sends one box, a list, or a list per frame."""
    if isinstance(boxes, dict):
        x, y = float(boxes["x"]), float(boxes["y"])
        return [[x, y, x + float(boxes["width"]), y + float(boxes["height"])]]
    return [corners for part in boxes for corners in _pixel_boxes(part)]


def _face_boxes(landmarks: dict) -> list[list[float]]:
    return [
        [float(v) for v in face["bbox_xyxy"]] for frame in landmarks["frames"] for face in frame
    ]
