"""Hallo's published weights: one `net.pth`, or the five files that its training saves.

Keys of `net.pth` begin with the network: `reference_unet.`, `denoising_unet.`, `face_locator.`,
`imageproj.`, `audioproj.`. Training saves each network as `NAME-STEP.pth`, without prefixes.
Weights trained on Hallo's code for other languages (JoyHallo, ch-Hallo) have the same layout.

Source: fudan-generative-vision/hallo, `scripts/inference.py` (class Net),
`scripts/train_stage2.py`, `configs/inference/default.yaml`.
"""

from __future__ import annotations

from pathlib import Path

from ..config import (
    AudioConfig,
    BackboneConfig,
    DiffusionConfig,
    IdentityConfig,
    ModelConfig,
    MotionConfig,
    ReferenceNetConfig,
    SamplingConfig,
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

NETWORKS = {
    "reference_unet": "reference_net.",
    "denoising_unet": "backbone.",
    "face_locator": "backbone.face_locator.",
    "imageproj": "reference_net.identity_projection.",
    "audioproj": "backbone.audio_projection.",
}
"""Upstream's name of a network -> the prefix of its names here."""
WINDOW_FRAMES = 5
FEATURE_DIM = 768
"""Of wav2vec2-base; how many layers there are follows from the projection's width."""


def is_hallo(shapes: Shapes) -> bool:
    """Whether these are the tensors of a `net.pth`."""
    return "audioproj.proj1.weight" in shapes and "denoising_unet.conv_in.weight" in shapes


def is_hallo_split(shapes: Shapes) -> bool:
    """Whether these are the tensors of a denoising network that training saved by itself."""
    return any(name.startswith("mid_block.audio_modules.") for name in shapes)


def open_hallo(file: TensorFile) -> Checkpoint:
    """Describe a `net.pth`."""
    files = dict.fromkeys(NETWORKS, file)
    return _describe(file.path, files, {name: f"{name}." for name in NETWORKS})


def open_hallo_split(file: TensorFile) -> Checkpoint:
    """Describe the files of a training, found beside that of the denoising network.

    Raises:
        InputError: one of them is missing.
    """
    files = {}
    for name in NETWORKS:
        is_given = name == "denoising_unet"
        files[name] = file if is_given else beside(file, name, role=f"network {name}")
    return _describe(file.path, files, dict.fromkeys(NETWORKS, ""))


def _describe(path: Path, files: dict[str, TensorFile], prefixes: dict[str, str]) -> Checkpoint:
    shapes = {name: shapes_of(files[name], prefix=prefixes[name]) for name in NETWORKS}
    config = _config(path, shapes)
    # Upstream infers on a path of its code that leaves out the temporal modules of the coarsest
    # resolution, though its files hold them: 181 million numbers that nothing ever reads.
    deepest = len(config.backbone.unet.block_out_channels) - 1
    never_run = (rf"down_blocks\.{deepest}\.motion_modules\.", r"up_blocks\.0\.motion_modules\.")
    dead = {"denoising_unet": (POSITION_TABLE, *never_run)}
    parts = tuple(
        renamed(files[name], prefix=prefixes[name], new_prefix=prefix, dead=dead.get(name, ()))
        for name, prefix in NETWORKS.items()
    )
    return Checkpoint(path=path, config=config, parts=parts)


def _config(path: Path, shapes: dict[str, Shapes]) -> ModelConfig:
    denoising, audio = shapes["denoising_unet"], shapes["audioproj"]
    unet = unet_config(denoising)
    heard = audio["proj1.weight"][1]
    if heard % (WINDOW_FRAMES * FEATURE_DIM):
        raise InputError(
            f"{path}: its audio projection reads {heard} numbers per frame, which are no layers of "
            f"wav2vec2-base ({FEATURE_DIM} numbers) over {WINDOW_FRAMES} frames. Give a checkpoint "
            "that was trained on wav2vec2-base."
        )
    token_dim = audio["norm.weight"][0]
    identity_dim = shapes["imageproj"]["norm.weight"][0]
    levels = (True,) * (len(unet.block_out_channels) - 1) + (False,)
    return ModelConfig(
        family="hallo",
        backbone=BackboneConfig(
            unet=unet,
            has_reference_attention=False,
            is_reference_joined=True,
            context_dim=context_width(denoising),
            has_audio_modules=True,
            audio=AudioConfig(
                timing="before_encoder",
                num_layers=heard // (WINDOW_FRAMES * FEATURE_DIM),
                feature_dim=FEATURE_DIM,
                window_margin=WINDOW_FRAMES // 2,
                hidden_dim=audio["proj1.weight"][0],
                num_tokens=audio["proj3.weight"][0] // token_dim,
                token_dim=token_dim,
            ),
            temporal=temporal_config(denoising, num_motion_frames=2, levels=levels),
            speed=None,
            face_locator_channels=locator_channels(shapes["face_locator"]),
            face_locator_input="mask_rgb",
            is_region_guided=True,
        ),
        reference_net=ReferenceNetConfig(
            unet=unet_config(shapes["reference_unet"]),
            context_dim=context_width(shapes["reference_unet"]),
            identity=IdentityConfig(
                embedding_dim=shapes["imageproj"]["proj.weight"][1],
                num_tokens=shapes["imageproj"]["proj.weight"][0] // identity_dim,
                token_dim=identity_dim,
            ),
            is_context_alternating=True,
        ),
        # Trained with "scaled_linear", but run with this: upstream changes it after use.
        diffusion=DiffusionConfig(beta_schedule="linear"),
        sampling=SamplingConfig(
            clip_frames=16,
            steps=40,
            guidance=3.5,
            solver="ddim",
            motion=MotionConfig(is_first_reference=True, is_decoded=True),
        ),
    )
