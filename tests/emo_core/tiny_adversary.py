"""An adversarial task small enough to look into."""

import dataclasses
from unittest.mock import patch

import torch
from tiny import tiny_networks
from tiny_data import toy_data
from torch import Tensor

from emo_core.checkpoints.emo import Networks
from emo_core.models.vae import VAE
from emo_core.training import adversarial_task
from emo_core.training.adversarial_task import AdversarialTask
from emo_core.training.adversary import Adversary
from emo_core.training.latent_reader import LatentReader

ADVERSARY = Adversary(
    steps=4,
    guidance=1.25,
    critic_weight=0.5,
    critic_focus=1.0,
    critic_factor=1.0,
    free_share=0.0,
    own_share=0.0,
    from_noise_share=0.0,
    own_motion_share=0.0,
    reading_weight=0.5,
    speed_weight=0.25,
    likeness_weight=0.25,
    change_weight=0.0,
    lead_weight=1.0,
    told_frames=3,
    first_weight=0.3,
)


def toy_task(networks: Networks | None = None, **changed: float) -> AdversarialTask:
    """A task whose weights learn, by 3 clips, the last of them held out."""
    torch.manual_seed(0)
    with patch.object(adversarial_task, "NUM_HELD_OUT", 1):
        task = AdversarialTask(
            tiny_networks() if networks is None else networks,
            dataclasses.replace(ADVERSARY, **changed),
            toy_data(),
            reader=LatentReader(4).eval().requires_grad_(False),
            vae=VAE(scale=1.0),
            num_clips=2,
        )
    for parameter in task.learning_parameters().values():
        parameter.requires_grad_(True)
    return task


def going_on(task: AdversarialTask) -> AdversarialTask:
    """Have no clip of a task's lessons begin a film."""
    task.feeder.feed = dataclasses.replace(task.feeder.feed, beginning_share=0.0)
    return task


def numbered(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class OneSpeed(LatentReader):
    """Reads the same speed everywhere, and notes the pairs."""

    pairs: tuple[Tensor, Tensor]

    def read_speed(self, latents: Tensor, before: Tensor) -> Tensor:
        self.pairs = (latents, before)
        return 0.0 * latents.sum(dim=(1, 2, 3))
