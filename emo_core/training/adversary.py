"""How adversarial training is set up: what counts how much, what is fed and what learns."""

from __future__ import annotations

import dataclasses

from ..checkpoints.emo import Networks
from .stages import FRONT_END, Feed, Stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adversary:
    """How few steps are aimed at, and how much the critic counts."""

    steps: int
    """Of the sampler that the network is made for."""
    guidance: float
    """That the finished checkpoint asks for; 1 is none. It learns without, but for the few batches
    in which conditions are left out."""
    critic_weight: float
    """Length of the critic's gradient in the last layer, over that of the error."""
    critic_focus: float
    """How much more mouth and eyes count for it than other places."""
    critic_factor: float
    """Rate of the critic's learning over the network's."""
    free_share: float
    """Share of clips noised to any level, so that more steps stay possible."""
    own_share: float
    """Share of batches that begin earlier, with steps of the network's own."""
    from_noise_share: float
    """Of these: from pure noise. The others begin one step earlier, from true frames."""
    own_motion_share: float
    """Share of clips whose motion frames are those that the network last made of them."""
    reading_weight: float
    """Length of the reading's gradient in the last layer, over that of the error."""
    speed_weight: float
    """The same of what is read of head speed."""
    likeness_weight: float
    """The same of what is read of the person."""
    change_weight: float
    """How much a wrong change from one frame to the next counts beside a wrong frame."""
    lead_weight: float
    """How much more the change from the motion frames into a clip's first frame counts: clips meet
    there, and a jump is seen."""
    told_frames: int
    """Frames after which motion frames tell nothing of the head's way any more."""
    first_weight: float
    """Weight of the error at the first of the steps, where only noise is seen: the head's way is
    anyone's guess there, and a strong error would make it the mean of all ways. At the last
    step it is 1."""


def adversarial_stage(networks: Networks) -> Stage:
    """What is fed and what learns: everything but the audio encoder."""
    feed = Feed(
        is_temporal=True,
        is_audio_fed=True,
        is_speed_fed=True,
        num_frames=networks.config.sampling.clip_frames,
        reference_dropout=0.03,
        audio_dropout=0.03,
        speed_dropout=0.1,
        beginning_share=0.25,
        motion_noise=0.05,
        mouth_weight=8.0,
        face_weight=2.0,
        eyes_weight=6.0,
        round_weight=2.0,
    )
    return Stage(**dataclasses.asdict(feed), name="adversarial", learns=None, rests=(FRONT_END,))
