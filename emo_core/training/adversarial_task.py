"""Adversarial training as a task of the loop: a few steps with little or no guidance.

The film's true frames are noised to one of the levels that a sampler of few steps visits. The
network's one guess at the clean frames must be near the true ones, above all where the face is, and
change from frame to frame as they do, look true to a critic that sees each frame, its change from
the one before, the reference and how the mouth should be, and show a resting `LatentReader` the
mouth, the expression and the person that the truth has, and the head speed that was asked for, from
the last motion frame on. At times the noised frames come from the network's own steps before, and
the motion frames from what it made of them when they were last a lesson, so that it learns to mend
what it got wrong there (`guessing`). Films that it began from pure noise go another way than the
data's; critic and reader judge them, and the truth only right behind the motion frames, which tell
the way.

Source: adversarial diffusion distillation (Sauer et al., arXiv 2311.17042) and its latent form
(arXiv 2403.12015). Differently from both, what is taught is the data itself and not a teacher's
answer, and the critic is small and learned from nothing. The network's own motion frames are in the
spirit of self forcing (Huang et al., arXiv 2506.08009).

Letters: B clips, F frames, N images (clips * frames), C channels, h and w of latents.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.emo import Networks
from ..models.vae import VAE
from ..video.stills import contact_sheet, save_image
from .adversary import Adversary, adversarial_stage
from .balance import Sight, UsualLengths
from .batches import Batch
from .critic import Critic, hinge_losses
from .feeding import (
    Feeder,
    Reading,
    errors_of,
    film_rows,
    sample_frames,
    squared_with_change,
)
from .guessing import SOLVER, Guess, Guesser, check_predicts_v
from .latent_reader import NUM_MOUTH_SIGNALS, LatentReader
from .latents import NUM_HELD_OUT, LatentClips
from .reader_errors import face_error, likeness_error, speed_error, with_reading_noise
from .stages import learning_parameters

CRITIC_WIDTHS = (64, 96, 128, 128)
CRITIC_STRIDES = (1, 2, 1, 1)
SHOWN_CLIPS = 6
LEAST_SIGNAL = 0.25
"""Guesses from noisier frames follow another head's way than the data's, and do not become motion
frames."""


class AdversarialTask:
    """Teach a checkpoint to guess clean frames that look true.

    A run that is resumed begins again with true motion frames and measures the usual lengths and
    the critic's judgement anew.
    """

    def __init__(
        self,
        networks: Networks,
        adversary: Adversary,
        data: LatentClips,
        *,
        reader: LatentReader,
        vae: VAE,
        num_clips: int,
    ) -> None:
        check_predicts_v(networks.config.diffusion, training="adversarial training")
        unscaled = dataclasses.replace(networks.config.backbone, audio_scale=1.0)
        networks.backbone.backbone_config = unscaled
        config = dataclasses.replace(networks.config, backbone=unscaled)
        self.networks = networks = dataclasses.replace(networks, config=config)
        self.adversary = adversary
        self.reader = reader
        self.vae = vae
        self.num_clips = num_clips
        seen_channels = 3 * config.backbone.unet.latent_channels + NUM_MOUTH_SIGNALS
        self.critic = Critic(seen_channels, widths=CRITIC_WIDTHS, strides=CRITIC_STRIDES)
        self.network: nn.Module = nn.ModuleDict({**networks.parts(), "critic": self.critic})
        self.stage = adversarial_stage(networks)
        taught, held_out = data.split(NUM_HELD_OUT)
        self.feeder = Feeder(networks, self.stage, taught)
        self.examiner = Feeder(networks, self.stage, held_out)
        self.usual_lengths = UsualLengths("error")
        """Where the film follows the data's."""
        self.sight = Sight()
        self.made = taught.latents.clone()
        """[K, F, C, h, w]: what the network last made of the frames; at first they themselves."""
        self.guesser = Guesser(networks.config.diffusion, adversary)

    def learning_parameters(self) -> dict[str, nn.Parameter]:
        of_maker = dict(learning_parameters(self.networks.parts(), self.stage))
        return of_maker | {f"critic.{k}": p for k, p in self.critic.named_parameters()}

    def rate_factor(self, name: str) -> float:
        return self.adversary.critic_factor if name.startswith("critic.") else 1.0

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        batch = self.feeder.draw(generator, num_clips=self.num_clips)
        fed = self._with_own_motion(batch, generator)
        reading = self.feeder.read(fed, generator, is_dropping=True)
        guess = self.guess(fed, reading, generator)
        self._remember(batch, guess)
        made, true = guess.frames, batch.frames.flatten(0, 1)
        lead_error = fed.motion[:, -1] - batch.motion[:, -1]
        square = squared_with_change(
            made - true,
            batch,
            lead_error,
            change_weight=self.adversary.change_weight,
            lead_weight=self.adversary.lead_weight,
        )
        errors = errors_of(
            self._error_weight(batch, guess) * square,
            batch,
            mouth_weight=self.stage.mouth_weight,
            face_weight=self.stage.face_weight,
            eyes_weight=self.stage.eyes_weight,
            round_weight=self.stage.round_weight,
        )
        focus = batch.mouth.maximum(batch.eyes).flatten(0, 1)
        of_critic, of_maker = hinge_losses(
            self.critic,
            seen_by_critic(batch, true),
            seen_by_critic(fed, made),
            1.0 + self.adversary.critic_focus * focus,
        )
        self.reader.to(made.device)
        seen, lead = (
            with_reading_noise(latents, generator) for latents in (made, fed.motion[:, -1:])
        )
        of_reader = face_error(self.reader, fed, guess, seen, reading)
        of_speed = speed_error(self.reader, fed, guess, seen, lead, reading)
        of_likeness = likeness_error(
            self.reader, fed, seen, with_reading_noise(true, generator), reading
        )
        pulls = {
            "critic": (self.adversary.critic_weight * self.sight.after(of_critic), of_maker),
            "reader": (self.adversary.reading_weight, of_reader),
            "speed": (self.adversary.speed_weight, of_speed),
            "likeness": (self.adversary.likeness_weight, of_likeness),
        }
        if guess.is_tied:
            losses = {"error": errors["loss"]} | {name: loss for name, (_, loss) in pulls.items()}
            self.usual_lengths.measure(losses, self.networks.backbone.conv_out.weight)
        factor = self.usual_lengths.factor
        of_pulls = [weight * factor(name) * loss for name, (weight, loss) in pulls.items()]
        return {
            **errors,
            "loss": errors["loss"] + sum(of_pulls) + of_critic,
            "error": errors["loss"],
            "critic": of_critic,
            "reading": of_reader,
            "speed": of_speed,
            "likeness": of_likeness,
        }

    def guess(self, batch: Batch, reading: Reading, generator: torch.Generator) -> Guess:
        """Noise a batch's frames and guess the clean ones."""
        predict = self.feeder.predictor(self.networks.backbone, batch, reading, guidance=1.0)
        return self.guesser.guess(predict, batch, generator)

    def _error_weight(self, batch: Batch, guess: Guess) -> Tensor:
        """Factors (N, 1, 1, 1) on the error: where the head's way is not known yet they are small,
        but motion frames tell that of the frames right behind them."""
        first = self.adversary.first_weight if guess.is_tied else 0.0
        weight_N111 = first + (1.0 - first) * guess.signal_N111
        num_clips, num_frames = batch.frames.shape[:2]
        frame_F = torch.arange(num_frames, device=weight_N111.device)
        told_F = (1.0 - frame_F / self.adversary.told_frames).clamp(min=0.0)
        told_BF = told_F * batch.is_led_B[:, None]
        return weight_N111.maximum(told_BF.reshape(num_clips * num_frames, 1, 1, 1))

    def _with_own_motion(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Put what the network last made of the motion frames in the place of some of them."""
        chance_B = torch.rand(len(batch.motion), generator=generator).to(batch.motion.device)
        is_own_B = (chance_B < self.adversary.own_motion_share) & ~batch.begins_film_B
        is_own = is_own_B[:, None, None, None, None]
        own = self._remembered()[batch.clip_B[:, None], batch.motion_BM].to(batch.motion)
        return dataclasses.replace(batch, motion=torch.where(is_own, own, batch.motion))

    def _remember(self, batch: Batch, guess: Guess) -> None:
        made = guess.frames.detach().unflatten(0, batch.frames.shape[:2])
        signal_BF111 = guess.signal_N111.unflatten(0, batch.frames.shape[:2])
        kept_B = signal_BF111[:, 0, 0, 0, 0] >= LEAST_SIGNAL
        places = batch.clip_B[kept_B][:, None], batch.frame_BF[kept_B]
        self._remembered()[places] = made[kept_B].half()

    def _remembered(self) -> Tensor:
        self.made = self.made.to(self.feeder.data.latents.device)
        return self.made

    @torch.no_grad()
    def show(self, folder: Path, name: str) -> None:
        """Have held-out clips made: reference, true frames, those of few steps; and measure."""
        generator = torch.Generator().manual_seed(1)
        batch = self.examiner.draw(generator, num_clips=SHOWN_CLIPS)
        reading = self.examiner.read(batch, generator, is_dropping=False)
        conditions = self.examiner.prepare(self.networks.backbone, batch, reading)
        frames = batch.frames.flatten(0, 1)
        made = sample_frames(
            self.networks,
            batch,
            conditions,
            generator,
            solver=SOLVER,
            steps=self.adversary.steps,
        )
        pictures = self.vae.decode(film_rows(batch, frames, made).cpu())
        save_image(contact_sheet(pictures, columns=9), folder / f"{name}.png")
        errors = errors_of((made - frames).square(), batch, mouth_weight=0.0)
        line = ", ".join(f"{key} {float(errors[key]):.5f}" for key in ("plain", "mouth"))
        (folder / f"{name}.txt").write_text(f"few steps against the truth: {line}\n", "utf-8")

    def finished(self) -> Networks:
        """Return the networks, which say how they are to be sampled."""
        config, adversary = self.networks.config, self.adversary
        sampling = dataclasses.replace(
            config.sampling, steps=adversary.steps, guidance=adversary.guidance, solver=SOLVER
        )
        config = dataclasses.replace(config, sampling=sampling)
        return dataclasses.replace(self.networks, config=config)


def seen_by_critic(batch: Batch, frames_NChw: Tensor) -> Tensor:
    """Return what the critic judges: frames, their change from the one before, which for the first
    of a clip is the last motion frame, the reference, and the mouth's true signals at every place
    (B * F, 3 C + NUM_MOUTH_SIGNALS, h, w).

    Where nothing leads, the first frame has changed by nothing. Signals that are not known are 0.
    """
    frames = frames_NChw.unflatten(0, batch.frames.shape[:2])
    is_led_B111 = batch.is_led_B[:, None, None, None]
    lead = torch.where(is_led_B111, batch.motion[:, -1], frames[:, 0])
    before = torch.cat([lead[:, None], frames[:, :-1]], dim=1)
    reference = batch.reference[:, None].expand_as(frames)
    signals = batch.face_signals[:, :, :NUM_MOUTH_SIGNALS, None, None].nan_to_num(0.0)
    signals = signals.expand(*frames.shape[:2], -1, *frames.shape[-2:])
    return torch.cat([frames, frames - before, reference, signals], dim=2).flatten(0, 1)
