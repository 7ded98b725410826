"""Nodes that say where the portrait's face is, and where and how the voice moves it."""

from __future__ import annotations

import dataclasses
from functools import partial

import torch
from comfy_api.latest import io
from torch import Tensor

from ..emo_core.errors import InputError
from ..emo_core.face.key_points import STRATEGIES, key_points_for_film, key_points_of
from ..emo_core.face.placement import (
    Frame,
    placement_of_box,
    placement_of_drawing,
    placement_of_landmarks,
)
from ..emo_core.face.region import DEFAULT_BOX, box_to_mask, boxes_to_mask, feather_mask, grow_mask
from .detected import (
    Box,
    Landmarks,
    check_landmarks_size,
    face_boxes,
    first_faces,
    largest,
    largest_face,
    pixel_boxes,
)
from .types import (
    ONLY_A_SOCKET,
    Audio,
    AudioType,
    BoundingBoxType,
    FaceLandmarksType,
    FaceRegion,
    FaceRegionType,
    Reference,
    ReferenceType,
)


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
            "further. V-Express reads only where eyes and nose are.",
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
        landmarks: Landmarks | None = None,
    ) -> io.NodeOutput:
        given = [name for name, value in _named(mask, boxes, landmarks) if value is not None]
        if len(given) > 1:
            raise InputError(
                f"{cls.NAME}: {' and '.join(given)} are connected. Expected one of them at most; "
                "disconnect the others."
            )
        fit = reference.fit
        placed = None
        if not given:
            region = box_to_mask(DEFAULT_BOX, height=fit.height, width=fit.width)
        elif mask is not None:
            drawn = mask.reshape(-1, *mask.shape[-2:]).amax(dim=0).float().cpu()
            region = grow_mask(fit.mask(drawn), growth=growth)
        else:
            if landmarks is None:
                found = pixel_boxes(boxes, node=cls.NAME)
            else:
                size = {"width": fit.source_width, "height": fit.source_height}
                check_landmarks_size(landmarks, node=cls.NAME, **size)
                found = face_boxes(landmarks)
            region = fit.mask(cls._boxes_mask(found, reference, growth=growth))
            frame, expansion = Frame.of(fit), 1.0 + 2.0 * growth
            placed = partial(placement_of_box, largest(found), frame, expansion=expansion)
            if landmarks is not None:
                points = torch.from_numpy(largest_face(landmarks)["landmarks_xy"])
                placed = partial(placement_of_landmarks, points, frame, expansion=expansion)
        if not (region > 0.5).any():
            raise InputError(
                f"{cls.NAME}: the region is empty once the portrait is cropped to {fit.width}x"
                f"{fit.height}. Draw it over the face, or change the crop of the reference."
            )
        soft = feather_mask(region, radius=feather).clamp(0.0, 1.0)
        if placed is None:
            placed = partial(placement_of_drawing, region)
        return io.NodeOutput(FaceRegion(placement=placed(mask_HW=soft)), soft[None])

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


class KeyPoints(io.ComfyNode):
    NAME = "EMO Key Points"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_KeyPoints",
            display_name=cls.NAME,
            category="EMO/conditioning",
            description="V-Express: eyes and nose move as in a driving video. Without this node "
            "they stay where the portrait has them and only the voice moves the face.",
            search_aliases=["driving video", "retarget", "v-kps"],
            inputs=[
                FaceRegionType.Input(
                    "face_region",
                    tooltip="From EMO Face Region; with landmarks its eyes and nose are known, "
                    "without them guessed.",
                ),
                AudioType.Input("emo_audio", tooltip="Says how many frames the film has."),
                FaceLandmarksType.Input(
                    "landmarks",
                    tooltip="The driving video's face from Detect Face Landmarks (MediaPipe). A "
                    "longer video is cut, a shorter one slowed down.",
                ),
                io.Combo.Input(
                    "retarget",
                    options=[name for name in STRATEGIES if name != "fix_face"],
                    default="naive_retarget",
                    tooltip="How the driving face is fitted to the portrait's: naive_retarget "
                    "scales it and begins at the portrait's nose; offset_retarget moves the "
                    "portrait's points as a whole, half as far and the other way; no_retarget "
                    "takes it as it is.",
                ),
            ],
            outputs=[FaceRegionType.Output("moving_region", display_name="face_region")],
        )

    @classmethod
    def execute(
        cls, face_region: FaceRegion, emo_audio: Audio, landmarks: Landmarks, retarget: str
    ) -> io.NodeOutput:
        placement = face_region.placement
        height, width = landmarks["image_size"]
        frame = placement.frame
        scale = torch.tensor([frame.film_width / width, frame.film_height / height])
        points = first_faces(
            landmarks,
            lambda face: key_points_of(torch.from_numpy(face["landmarks_xy"])),
            node=cls.NAME,
            otherwise="leave this node out",
        )
        driving = key_points_for_film(
            placement.key_points_F32[0],
            strategy=retarget,
            driving_M32=torch.stack(points) * scale,
            num_frames=emo_audio.length.num_sampled_frames,
        )
        moved = dataclasses.replace(placement, driving_points_F32=driving)
        return io.NodeOutput(dataclasses.replace(face_region, placement=moved))


class AudioWeights(io.ComfyNode):
    NAME = "EMO Audio Weights"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_AudioWeights",
            display_name=cls.NAME,
            category="EMO/conditioning",
            description="How much the voice moves the lips, the rest of the face, and everything "
            "else, for every family.",
            search_aliases=["lip weight", "pose weight", "face weight"],
            inputs=[
                FaceRegionType.Input("face_region", tooltip="From EMO Face Region."),
                _weight("background", "head, hair and shoulders (Hallo's pose weight)"),
                _weight("face", "the face round the lips: brows, eyes, cheeks"),
                _weight("lips", "the lips"),
            ],
            outputs=[FaceRegionType.Output("weighted_region", display_name="face_region")],
        )

    @classmethod
    def execute(
        cls, face_region: FaceRegion, background: float, face: float, lips: float
    ) -> io.NodeOutput:
        weights = (background, face, lips)
        return io.NodeOutput(dataclasses.replace(face_region, area_weights=weights))


def _named(
    mask: Tensor | None, boxes: list | Box | None, landmarks: Landmarks | None
) -> list[tuple[str, object]]:
    return [("mask", mask), ("boxes", boxes), ("landmarks", landmarks)]


def _weight(name: str, what: str) -> io.Input:
    return io.Float.Input(
        name,
        default=1.0,
        min=0.0,
        max=3.0,
        step=0.05,
        tooltip=f"How much the voice moves {what}. 1 is as trained.",
    )
