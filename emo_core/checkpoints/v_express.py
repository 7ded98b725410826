"""V-Express' published weights: five files without prefixes.

`denoising_unet`, `reference_net`, `motion_module`, `v_kps_guider` and `audio_projection`, as
`.bin`, older ones as `.pth`. The weights are for non-commercial research only.

Source: tencent-ailab/V-Express, `inference.py`, `inference_v2.yaml`, `modules`.
"""

from __future__ import annotations

from ..config import (
    AudioConfig,
    BackboneConfig,
    ModelConfig,
    PerceiverConfig,
    ReferenceNetConfig,
    SamplingConfig,
    WindowsConfig,
)
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

HEAD_DIM = 64
"""Of the audio projection; its width divides into so many heads."""
ROWS_PER_FRAME = 2


def is_v_express(shapes: Shapes) -> bool:
    """Whether these are the tensors of a denoising network: its reference has an attention."""
    return "mid_block.attentions.0.transformer_blocks.0.attn1_5.to_q.weight" in shapes


def open_v_express(file: TensorFile) -> Checkpoint:
    """Describe the files found beside that of the denoising network.

    Raises:
        InputError: one of them is missing.
    """
    reference, motion, guider, audio = (
        beside(file, name, role=role)
        for name, role in (
            ("reference_net", "ReferenceNet"),
            ("motion_module", "temporal modules"),
            ("v_kps_guider", "key-point guider"),
            ("audio_projection", "audio projection"),
        )
    )
    return Checkpoint(
        path=file.path,
        config=_config(file, *(shapes_of(part) for part in (reference, motion, guider, audio))),
        parts=(
            # Its output layer is in the file, but features are read before it.
            renamed(
                reference, new_prefix="reference_net.", dead=(r"^conv_norm_out\.|^conv_out\.",)
            ),
            # Upstream's training saves the whole network here; motion_module.bin overrides it.
            renamed(
                file,
                new_prefix="backbone.",
                dead=(POSITION_TABLE,),
                overridden=motion.tensors.keys(),
            ),
            renamed(motion, new_prefix="backbone.", dead=(POSITION_TABLE,)),
            renamed(guider, new_prefix="backbone.face_locator."),
            renamed(audio, new_prefix="backbone.audio_projection."),
        ),
    )


def _config(
    file: TensorFile, reference: Shapes, motion: Shapes, guider: Shapes, audio: Shapes
) -> ModelConfig:
    denoising = shapes_of(file)
    token_dim = audio["norm_out.weight"][0]
    num_layers = 1 + max(int(name.split(".")[1]) for name in audio if name.startswith("layers."))
    return ModelConfig(
        family="v_express",
        backbone=BackboneConfig(
            unet=unet_config(denoising),
            # The factors that upstream's command runs with unless told otherwise.
            reference_scale=0.95,
            audio_scale=3.0,
            context_dim=context_width(denoising),
            audio=AudioConfig(
                timing="after_encoder",
                num_layers=1,
                feature_dim=audio["proj_in.weight"][1],
                rows_per_frame=ROWS_PER_FRAME,
                window_margin=(audio["pos_emb.weight"][0] // ROWS_PER_FRAME - 1) // 2,
                is_padded_by_zeros=True,
                projection="perceiver",
                perceiver=PerceiverConfig(
                    num_layers=num_layers,
                    num_heads=audio["layers.0.0.to_q.weight"][0] // HEAD_DIM,
                    head_dim=HEAD_DIM,
                    ff_mult=audio["layers.0.1.1.weight"][0] // audio["layers.0.1.1.weight"][1],
                ),
                num_tokens=audio["latents"][1],
                token_dim=token_dim,
            ),
            temporal=temporal_config(motion, num_motion_frames=0),
            speed=None,
            face_locator_channels=locator_channels(guider),
            face_locator_input="key_points",
            is_region_guided=True,
        ),
        reference_net=ReferenceNetConfig(
            unet=unet_config(reference),
            context_dim=context_width(reference),
            is_feature_after_attention=True,
        ),
        sampling=SamplingConfig(
            fps=30.0,
            is_length_of_windows=True,
            clip_frames=24,
            steps=25,
            guidance=3.5,
            solver="ddim",
            windows=WindowsConfig(overlap=4),
            has_median_filter=True,
        ),
    )
