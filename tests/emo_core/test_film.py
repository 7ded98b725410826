"""What a film tells its clips: head speed, and what leads the first of them."""

import dataclasses

import pytest
import torch
from tiny import tiny_networks

from emo_core.audio.waveform import Waveform
from emo_core.config import MotionConfig, SpeedConfig
from emo_core.errors import InputError
from emo_core.film import Film
from emo_core.models.vae import VAE
from emo_core.pipeline import AnimateSettings, Animator


def film(*, speed_deg_s: float = 12.0, gain: float = 1.0, is_first_reference: bool = False) -> Film:
    networks = tiny_networks()
    config = networks.config
    speed = dataclasses.replace(config.backbone.speed, gain=gain)
    motion = MotionConfig(is_first_reference=is_first_reference)
    config = dataclasses.replace(
        config,
        backbone=dataclasses.replace(config.backbone, speed=speed),
        sampling=dataclasses.replace(config.sampling, motion=motion),
    )
    networks = dataclasses.replace(networks, config=config)
    animator = Animator(networks, VAE(scale=1.0).eval(), networks.front_end)
    settings = AnimateSettings(speed_deg_s=speed_deg_s)
    return animator.film(
        torch.rand(32, 32, 3), Waveform(torch.rand(1, 8000), 16000), settings=settings
    )


@pytest.mark.parametrize(
    ("asked", "gain", "told"), [(12.0, 1.0, 12.0), (12.0, 1.25, 15.0), (55.0, 1.25, 60.0)]
)
def test_heads_are_told_a_gain_on_their_speed(asked: float, gain: float, told: float) -> None:
    """Never more than the fastest that was taught."""
    windows = film(speed_deg_s=asked, gain=gain).speed_windows((0, 1, 2))
    assert windows.shape == (3, 5)
    torch.testing.assert_close(windows, torch.full_like(windows, told))


def test_a_gain_must_be_above_0() -> None:
    with pytest.raises(InputError, match="gain is 0"):
        SpeedConfig(gain=0.0)


def test_the_reference_leads_the_first_clip_where_a_config_says_so() -> None:
    assert film().first_motion is None
    led = film(is_first_reference=True)
    expected = led.reference.latents_1CHW.expand(led.num_motion_frames, -1, -1, -1)
    assert led.num_motion_frames > 1 and torch.equal(led.first_motion, expected)
