"""The demo checkpoint's sizes and how long each of its trainings runs."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import (
    AudioConfig,
    BackboneConfig,
    FrontEndConfig,
    ModelConfig,
    MotionConfig,
    ReferenceNetConfig,
    SamplingConfig,
    SpeedConfig,
    UNetConfig,
)
from .adversary import Adversary
from .distil_task import Distillation
from .loop import LoopSettings

LATENT_CHANNELS = 8
"""Twice Stable Diffusion's: the VAE is small and young, so it has less to squeeze."""
FRONT_END = FrontEndConfig(num_returned_layers=3)
SAMPLING = SamplingConfig(
    width=128,
    height=128,
    clip_overlap=2,
    steps=10,
    guidance=2.0,
    motion=MotionConfig(is_first_reference=True),
)
"""Until adversarial training, which asks for fewer steps. Ten of DPM-Solver++ are as twenty."""


def demo_config(*, latent_scale: float) -> ModelConfig:
    """Return the config of the demo: 128x128 pixels, two resolutions, 9.4 M parameters."""
    unet = UNetConfig(
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(64, 112),
        attention_levels=(True, True),
        layers_per_block=1,
        num_heads=2,
        norm_num_groups=16,
    )
    return ModelConfig(
        backbone=BackboneConfig(
            unet=unet,
            context_dim=64,
            audio=AudioConfig(
                num_layers=FRONT_END.num_returned_layers,
                feature_dim=FRONT_END.width,
                hidden_dim=96,
                num_tokens=4,
                token_dim=64,
            ),
            speed=SpeedConfig(token_dim=64),
            face_locator_channels=(16, 32, 32, 48),
            is_speed_guided=True,
        ),
        reference_net=ReferenceNetConfig(unet=unet),
        front_end=FRONT_END,
        sampling=SAMPLING,
        latent_scale=latent_scale,
    )


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of the demo: its loop, and how much a step reads."""

    loop: LoopSettings
    batch: int
    """Crops, voices or clips of a step."""


VAE = Training(
    loop=LoopSettings(steps=3000, learning_rate=8e-4, warmup_steps=50, ema_decay=0.995), batch=16
)
LATER_VAE = Training(
    loop=LoopSettings(steps=4000, learning_rate=4e-4, warmup_steps=50, ema_decay=0.995), batch=16
)
"""Going on with a critic and a network's guesses, the decoder alone or both halves."""
HEARING = Training(
    loop=LoopSettings(steps=5000, learning_rate=1e-3, warmup_steps=50, ema_decay=0.995), batch=32
)
STAGES = {
    1: Training(loop=LoopSettings(steps=5000, learning_rate=1e-3), batch=8),
    2: Training(loop=LoopSettings(steps=3000, learning_rate=6e-4), batch=3),
    3: Training(loop=LoopSettings(steps=900, learning_rate=5e-4), batch=3),
}
DISTILLATION = Training(
    loop=LoopSettings(steps=300, learning_rate=1e-3, warmup_steps=20, ema_decay=0.99), batch=1
)
STUDENT = Distillation(steps=4, substeps=2, rank=16, num_lessons=64)
"""Its LoRA file takes 2.7 MB. Eight steps of the teacher end 0.0002 from its usual ten (mean square
distance of latents); 4 steps without guidance end 0.031 from them."""
LATENT_READER = Training(
    loop=LoopSettings(steps=3000, learning_rate=1e-3, warmup_steps=50, ema_decay=0.995), batch=64
)
ADVERSARIAL = Training(
    loop=LoopSettings(steps=3300, learning_rate=3e-4, warmup_steps=50, ema_decay=0.995), batch=2
)
ADVERSARY = Adversary(
    steps=4,
    guidance=1.0,
    critic_weight=0.2,
    critic_focus=2.0,
    critic_factor=3.0,
    free_share=0.2,
    own_share=0.5,
    from_noise_share=0.5,
    own_motion_share=0.75,
    reading_weight=0.5,
    speed_weight=0.4,
    likeness_weight=0.3,
    change_weight=2.0,
    lead_weight=6.0,
    told_frames=3,
    first_weight=0.3,
)
