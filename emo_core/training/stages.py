"""The three stages of EMO's training, as data: what learns, what is fed, what is dropped.

Source: EMO (arXiv 2402.17485), "Training Strategies". Stage 1 learns pictures, stage 2 films with
sound, stage 3 the speed layers, in which the audio layers are left alone since training them
together weakens the sound's hold on the motion. Unlike the paper's large model, whose spatial
weights come from Stable Diffusion, the demo's are young after stage 1 and go on learning in
stage 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

AUDIO_LAYERS = r"\.transformer_blocks\.0\.(attn2|norm2)\.|^backbone\.audio_projection\."
TEMPORAL_LAYERS = r"\.motion_modules\."
SPEED_LAYERS = r"\.speed_attention\.|\.speed_norm\.|^backbone\.speed_embedding\."
FRONT_END = r"^front_end\."


@dataclass(frozen=True, kw_only=True)
class Feed:
    """What a network is fed while it learns, and what is left out by chance."""

    is_temporal: bool
    """Frames in a row with motion frames and temporal modules, or single images."""
    is_audio_fed: bool
    is_speed_fed: bool
    num_frames: int
    """Frames of one clip in a batch."""
    reference_dropout: float = 0.1
    """Share of samples without reference and without sound: guidance's other half."""
    audio_dropout: float = 0.05
    """Share of samples without sound only."""
    speed_dropout: float = 0.15
    """Share of steps without head speed, so that the model works without it too."""
    beginning_share: float = 0.25
    """Share of samples that begin a film: their motion frames are the reference, or zeros."""
    motion_noise: float = 0.08
    """Standard deviation of noise on the motion latents, so that small errors do not add up."""
    mouth_weight: float = 0.0
    """Extra weight of the loss where the mouth is."""
    face_weight: float = 0.0
    """Extra weight of the loss in the region that the face moves in."""
    eyes_weight: float = 0.0
    """Extra weight of the loss from brows to mouth."""
    round_weight: float = 0.0
    """By how much the extra weight of a wholly rounded mouth is larger than others'."""


@dataclass(frozen=True, kw_only=True)
class Stage(Feed):
    """One stage."""

    name: str
    learns: str | None
    """Pattern of parameter names; None means all but `rests`."""
    rests: tuple[str, ...]
    """Patterns of parameter names that never learn in this stage."""
    young: str | None = None
    """Pattern of parameters that are new in this stage; they learn faster."""
    young_factor: float = 5.0


STAGES = {
    1: Stage(
        name="pictures",
        learns=None,
        rests=(AUDIO_LAYERS, TEMPORAL_LAYERS, SPEED_LAYERS, FRONT_END),
        is_temporal=False,
        is_audio_fed=False,
        is_speed_fed=False,
        num_frames=4,
        mouth_weight=1.0,
    ),
    2: Stage(
        name="films",
        learns=None,
        rests=(SPEED_LAYERS, FRONT_END),
        is_temporal=True,
        is_audio_fed=True,
        is_speed_fed=False,
        num_frames=12,
        young=f"{AUDIO_LAYERS}|{TEMPORAL_LAYERS}",
        mouth_weight=4.0,
    ),
    3: Stage(
        name="speed",
        learns=f"{SPEED_LAYERS}|{TEMPORAL_LAYERS}",
        rests=(AUDIO_LAYERS, FRONT_END),
        is_temporal=True,
        is_audio_fed=True,
        is_speed_fed=True,
        num_frames=12,
        young=SPEED_LAYERS,
        mouth_weight=2.0,
    ),
}


def is_learning(name: str, stage: Stage) -> bool:
    """Whether the parameter `name`, such as `backbone.conv_in.weight`, learns in a stage."""
    if any(re.search(pattern, name) for pattern in stage.rests):
        return False
    return stage.learns is None or re.search(stage.learns, name) is not None


def rate_factor(name: str, stage: Stage) -> float:
    """Factor on the learning rate of the parameter `name`."""
    is_young = stage.young is not None and re.search(stage.young, name) is not None
    return stage.young_factor if is_young else 1.0


def learning_parameters(
    networks: dict[str, nn.Module], stage: Stage
) -> Iterator[tuple[str, nn.Parameter]]:
    """Every parameter that learns, under its name in the checkpoint."""
    for prefix, network in networks.items():
        for key, parameter in network.named_parameters():
            name = f"{prefix}.{key}"
            if is_learning(name, stage):
                yield name, parameter
