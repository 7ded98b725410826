"""The node that cuts a portrait out round its face."""

from __future__ import annotations

import dataclasses

from comfy_api.latest import io
from torch import Tensor

from ..emo_core.errors import InputError
from ..emo_core.face.crop import FaceCrop
from .detected import Box, Landmarks, check_landmarks_size, face_boxes, largest, pixel_boxes
from .types import ONLY_A_SOCKET, BoundingBoxType, FaceLandmarksType


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
        if landmarks is None:
            found = pixel_boxes(boxes, node=cls.NAME)
        else:
            size = {"width": image.shape[2], "height": image.shape[1]}
            check_landmarks_size(landmarks, node=cls.NAME, **size)
            found = face_boxes(landmarks)
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
        crop = dataclasses.replace(
            FaceCrop.of(image[0], face=largest(found), width=width, height=height),
            crop_growth=surroundings,
            mask_growth=growth,
        )
        picture = crop.portrait(image[0, ..., :3].float())
        return io.NodeOutput(picture[None], crop.mask(crop.face_mask())[None])


def _pixels(name: str) -> io.Input:
    return io.Int.Input(
        name,
        default=512,
        min=64,
        max=2048,
        step=8,
        tooltip="Pixels, as the film shall have. 512 is what the published families use.",
    )
