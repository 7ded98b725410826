"""Nodes that say where the portrait's face is, and where and how the voice moves it."""

from __future__ import annotations

import dataclasses
from functools import partial

import torch
from comfy_api.latest import io
from torch import Tensor

from ..emo_core.errors import InputError
from ..emo_core.face.crop import FaceCrop
from ..emo_core.face.key_points import STRATEGIES, key_points_for_film, key_points_of
from ..emo_core.face.placement import (
    Frame,
    placement_of_box,
    placement_of_drawing,
    placement_of_landmarks,
)
from ..emo_core.face.region import DEFAULT_BOX, box_to_mask, boxes_to_mask, feather_mask, grow_mask
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

Box = dict[str, float]
Landmarks = dict[str, object]


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
        landmarks: dict | None = None,
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
            found = _pixel_boxes(boxes) if landmarks is None else _face_boxes(landmarks)
            region = fit.mask(cls._boxes_mask(found, reference, growth=growth))
            largest = max(found, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
            frame, expansion = Frame.of(fit), 1.0 + 2.0 * growth
            placed = partial(placement_of_box, largest, frame, expansion=expansion)
            if landmarks is not None:
                points = torch.from_numpy(_largest_face(landmarks)["landmarks_xy"])
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


class CropFace(io.ComfyNode):
    NAME = "EMO Crop Face"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EMO_CropFace",
            display_name=cls.NAME,
            category="EMO/conditioning",
            description="Cuts a portrait out round the face as EchoMimic does, and marks the face. "
            "For Hallo, too, the face should fill half of the picture or more.",
            search_aliases=["face crop", "align face"],
            inputs=[
                io.Image.Input("image", tooltip="A picture with one face."),
                BoundingBoxType.Input(
                    "boxes",
                    optional=True,
                    extra_dict=ONLY_A_SOCKET,
                    tooltip="Boxes from a face detector; the largest counts.",
                ),
                FaceLandmarksType.Input(
                    "landmarks",
                    optional=True,
                    tooltip="From Detect Face Landmarks (MediaPipe), instead of boxes.",
                ),
                _pixels("width"),
                _pixels("height"),
                io.Float.Input(
                    "surroundings",
                    default=0.5,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    tooltip="What is kept round the face on every side, in parts of its size. 0.5 "
                    "is EchoMimic's; 1 keeps the shoulders.",
                ),
                io.Float.Input(
                    "growth",
                    default=0.1,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    advanced=True,
                    tooltip="Widens the mask of the face on every side, in parts of its size.",
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="For EMO Reference Encode."),
                io.Mask.Output(
                    "face_mask", display_name="mask", tooltip="For EMO Face Region, growth 0."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        width: int,
        height: int,
        surroundings: float,
        growth: float,
        boxes: list | Box | None = None,
        landmarks: Landmarks | None = None,
    ) -> io.NodeOutput:
        if (boxes is None) == (landmarks is None):
            raise InputError(
                f"{cls.NAME}: expected a face, either as boxes or as landmarks. Connect one of the "
                "two, such as Detect Face Landmarks (MediaPipe)."
            )
        found = _pixel_boxes(boxes) if landmarks is None else _face_boxes(landmarks)
        if image.shape[0] != 1:
            raise InputError(
                f"{cls.NAME}: a batch of {image.shape[0]} images. Expected one portrait; pick one "
                "with 'Get Image from Batch'."
            )
        if not found:
            raise InputError(
                f"{cls.NAME}: no face was found in the picture. Use a clearer one, or crop it by "
                "hand."
            )
        largest = max(found, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        crop = dataclasses.replace(
            FaceCrop.of(image[0], face=largest, width=width, height=height),
            crop_growth=surroundings,
            mask_growth=growth,
        )
        picture = crop.portrait(image[0, ..., :3].float())
        return io.NodeOutput(picture[None], crop.mask(crop.face_mask())[None])


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
        driving = key_points_for_film(
            placement.key_points_F32[0],
            strategy=retarget,
            driving_M32=torch.stack(cls._points(landmarks)) * scale,
            num_frames=emo_audio.length.num_sampled_frames,
        )
        moved = dataclasses.replace(placement, driving_points_F32=driving)
        return io.NodeOutput(dataclasses.replace(face_region, placement=moved))

    @classmethod
    def _points(cls, landmarks: Landmarks) -> list[Tensor]:
        """Of the first face in every frame; where none was found the last one is held."""
        faces = [
            key_points_of(torch.from_numpy(frame[0]["landmarks_xy"])) if frame else None
            for frame in landmarks["frames"]
        ]
        seen = [points for points in faces if points is not None]
        if not seen:
            raise InputError(
                f"{cls.NAME}: no face in {len(faces)} frames of the driving video. Use a video "
                "with a visible face, or leave this node out."
            )
        held, points = [], seen[0]
        for face in faces:
            points = points if face is None else face
            held.append(points)
        return held


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


def _largest_face(landmarks: Landmarks) -> dict:
    """The largest face of all frames."""

    def area(face: dict) -> float:
        x0, y0, x1, y1 = face["bbox_xyxy"]
        return float((x1 - x0) * (y1 - y0))

    return max((face for frame in landmarks["frames"] for face in frame), key=area)


def _weight(name: str, what: str) -> io.Input:
    return io.Float.Input(
        name,
        default=1.0,
        min=0.0,
        max=3.0,
        step=0.05,
        tooltip=f"How much the voice moves {what}. 1 is as trained.",
    )


def _pixels(name: str) -> io.Input:
    return io.Int.Input(
        name,
        default=512,
        min=64,
        max=2048,
        step=8,
        tooltip="Pixels, as the film shall have. 512 is what the published families use.",
    )
