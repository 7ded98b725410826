"""EchoMimic's published weights: four files without prefixes, and their accelerated variants.

`denoising_unet.pth`, `motion_module.pth`, `reference_unet.pth` and `face_locator.pth`; beside them
`denoising_unet_acc.pth` and `motion_module_acc.pth`, which need six steps and no guidance and
differ in nothing but their values, so their name has to tell.

The pose variants are driven by drawn landmarks instead of a mask and are not supported.

Source: BadToBest/EchoMimic, `infer_audio2vid.py`, `infer_audio2vid_acc.py`, `src/models`.
"""

from __future__ import annotations

import re

from ..config import (
    AudioConfig,
    BackboneConfig,
    DiffusionConfig,
    ModelConfig,
    ReferenceNetConfig,
    SamplingConfig,
    WindowsConfig,
)
from ..errors import InputError
from ..files.read import TensorFile
from .checkpoint import Checkpoint
from .upstream import (
    POSITION_TABLE,
    Shapes,
    beside,
    context_width,
    locator_channels,
    renamed,
    shapes_of,
    temporal_config,
    unet_config,
)

FEATURE_DIM = 384
"""Of whisper-tiny."""
FEATURE_LAYERS = 5
"""Of whisper-tiny's encoder: what enters its first block, and what leaves each of the four."""
ACCELERATED = "_acc"
ACCELERATED_WORD = re.compile(rf"{ACCELERATED}(?![A-Za-z0-9])")
POSE_INPUTS = 3


def is_echomimic(shapes: Shapes) -> bool:
    """Whether these are the tensors of a denoising network: its audio is as wide as Whisper's."""
    return (
        context_width(shapes) == FEATURE_DIM
        and "conv_in.weight" in shapes
        and not any(".attn1_5." in name or ".audio_modules." in name for name in shapes)
    )


def open_echomimic(file: TensorFile) -> Checkpoint:
    """Describe the files found beside that of the denoising network.

    Raises:
        InputError: one of them is missing, or they are of a pose variant.
    """
    reference, motion, locator = (
        beside(file, name, role=role)
        for name, role in (
            ("reference_unet", "ReferenceNet"),
            ("motion_module", "temporal modules"),
            ("face_locator", "face locator"),
        )
    )
    locator_shapes = shapes_of(locator)
    if locator_shapes["conv_in.weight"][1] == POSE_INPUTS:
        raise InputError(
            f"{file.path}: the face locator {locator.path.name} reads drawn landmarks, so this is "
            "one of EchoMimic's pose variants, which are not supported. Use the audio-driven "
            "files, without _pose in their names."
        )
    if _is_accelerated(file) and not _is_accelerated(motion):
        raise InputError(
            f"{file.path}: motion_module{ACCELERATED}{file.path.suffix} is missing. Expected it in "
            "the same folder, since the plain temporal modules do not fit; fetch that too."
        )
    return Checkpoint(
        path=file.path,
        config=_config(file, shapes_of(reference), shapes_of(motion), locator_shapes),
        parts=(
            renamed(reference, new_prefix="reference_net."),
            renamed(file, new_prefix="backbone.", dead=(POSITION_TABLE,)),
            # What it holds may lie in the denoising file, too; upstream loads that one last.
            renamed(
                motion,
                new_prefix="backbone.",
                dead=(POSITION_TABLE,),
                overridden=file.tensors.keys(),
            ),
            renamed(locator, new_prefix="backbone.face_locator."),
        ),
    )


def _is_accelerated(file: TensorFile) -> bool:
    return ACCELERATED_WORD.search(file.path.stem) is not None


def _config(file: TensorFile, reference: Shapes, motion: Shapes, locator: Shapes) -> ModelConfig:
    denoising = shapes_of(file)
    is_accelerated = _is_accelerated(file)
    audio = AudioConfig(
        encoder="whisper",
        timing="encoder_steps",
        num_layers=FEATURE_LAYERS,
        feature_dim=FEATURE_DIM,
        rows_per_frame=2,
        projection=None,
        num_tokens=10 * FEATURE_LAYERS,
        token_dim=FEATURE_DIM,
    )
    return ModelConfig(
        family="echomimic",
        backbone=BackboneConfig(
            unet=unet_config(denoising),
            has_reference_attention=False,
            is_reference_joined=True,
            # A default argument of upstream's code that nobody passes.
            audio_scale=3.0,
            context_dim=FEATURE_DIM,
            audio=audio,
            temporal=temporal_config(motion, num_motion_frames=0),
            speed=None,
            face_locator_channels=locator_channels(locator),
            is_region_guided=True,
        ),
        reference_net=ReferenceNetConfig(unet=unet_config(reference)),
        diffusion=DiffusionConfig(beta_schedule="linear"),
        sampling=SamplingConfig(
            fps=24.0,
            clip_frames=12,
            steps=6 if is_accelerated else 30,
            guidance=1.0 if is_accelerated else 2.5,
            solver="ddim",
            windows=WindowsConfig(overlap=3, is_loop=True, shift=2),
            noise_limit=1.5,
        ),
    )
