"""The films that a model is asked for: portraits and voices of the test split, with their truth.

Letters: F frames, H and W rows and columns, P portraits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..audio.waveform import Waveform
from ..errors import InputError
from ..face.region import boxes_to_mask
from ..synthetic.drawing import FaceState, draw, face_box
from ..synthetic.motion import HeadMotion, face_states, random_motion
from ..synthetic.portrait import Portrait, random_portrait
from ..synthetic.voices import Utterance, articulation, random_utterance

SPLIT = "test"
GALLERY_SIZE = 50
TALK_SECONDS = 4.0
TALK_SPEEDS_DEG_S = (5.0, 25.0)
"""Range of the steady head speeds asked for in talk films."""
SPEEDS_DEG_S = (2.0, 10.0, 20.0, 35.0, 50.0)
LONG_SPEED_DEG_S = 12.0
REGION_GROWTH = 0.05
"""How much the boxes of the true motion are widened, in fractions of their size."""
LEAST_MOUTH_MOTION = 0.12
"""Standard deviation of the true mouth opening in a voice that is worth measuring."""
NUM_PEOPLE = 100_000
NUM_VOICES = 1_000_000


@dataclass(frozen=True, eq=False)
class Case:
    """One film to be made, and what it should show."""

    name: str
    portrait: Portrait
    picture: Tensor
    """float32 [H, W, 3] of 0..1: the portrait, nearly frontal, lips closed."""
    utterance: Utterance
    num_frames: int
    fps: float
    speed_deg_s: float
    """Steady angular speed of the head that is asked for."""
    region: Tensor
    """float32 [H, W] of 0 and 1: where the face may be."""
    articulation: np.ndarray
    """float32 [F, 5]: the true mouth, columns as in `ARTICULATION_CHANNELS`."""
    motion: HeadMotion
    """One motion of the right speed within the region; a model may choose another."""

    @property
    def waveform(self) -> Waveform:
        """The voice, mono."""
        samples = torch.from_numpy(self.utterance.samples)
        return Waveform(samples=samples[None], sample_rate_hz=self.utterance.sample_rate_hz)

    @property
    def mouth_open(self) -> np.ndarray:
        """The true mouth opening, [F], 0..1."""
        return self.articulation[:, 0]


@dataclass(frozen=True, eq=False)
class CaseSet:
    """All films of an evaluation."""

    talk: tuple[Case, ...]
    speed: tuple[Case, ...]
    """Every portrait at every one of SPEEDS_DEG_S."""
    long: Case
    gallery: Tensor
    """float32 [P, H, W, 3]: the portraits of the talk films in their order, then other people."""


def make_cases(
    *,
    num_clips: int,
    seed: int,
    size: int = 128,
    fps: float = 25.0,
    num_speed_portraits: int = 3,
    speed_seconds: float = 3.0,
    long_seconds: float = 30.0,
) -> CaseSet:
    """Choose people and voices of the test split; the same seed gives the same cases.

    Args:
        num_clips: talk films of 4 seconds, from 2 to 50, each of another person.
        size: side of the pictures in pixels.
        num_speed_portraits: people that are filmed at each of the five speeds.

    Raises:
        InputError: the seed is negative, or a number of films is out of range.
    """
    if seed < 0:
        raise InputError(f"Evaluation: seed {seed}, expected 0 or more. Give another seed.")
    if not 2 <= num_clips <= GALLERY_SIZE or num_speed_portraits < 1:
        raise InputError(
            f"Evaluation: {num_clips} talk films and {num_speed_portraits} people for the speeds, "
            f"expected 2 to {GALLERY_SIZE} films, since the control needs a second voice, and at "
            "least 1 person. Give other numbers."
        )
    rng = np.random.default_rng([seed, 4])
    people = rng.choice(NUM_PEOPLE, GALLERY_SIZE + num_speed_portraits + 1, replace=False).tolist()
    talk = tuple(
        _make_case(
            f"talk {i:02d}",
            rng,
            person=people[i],
            seconds=TALK_SECONDS,
            speed_deg_s=float(rng.uniform(*TALK_SPEEDS_DEG_S)),
            size=size,
            fps=fps,
        )
        for i in range(num_clips)
    )
    speed = tuple(
        _make_case(
            f"speed {i} {wanted:g}",
            rng,
            person=person,
            seconds=speed_seconds,
            speed_deg_s=wanted,
            size=size,
            fps=fps,
        )
        for i, person in enumerate(people[GALLERY_SIZE:-1])
        for wanted in SPEEDS_DEG_S
    )
    others = [
        _resting_picture(rng, random_portrait(SPLIT, i), size=size)
        for i in people[num_clips:GALLERY_SIZE]
    ]
    return CaseSet(
        talk=talk,
        speed=speed,
        long=_make_case(
            "long",
            rng,
            person=people[-1],
            seconds=long_seconds,
            speed_deg_s=LONG_SPEED_DEG_S,
            size=size,
            fps=fps,
        ),
        gallery=torch.stack([case.picture for case in talk] + others),
    )


def draw_answer(case: Case) -> Tensor:
    """Draw the film that was asked for: the best answer there is, float32 [F, H, W, 3] of 0..1."""
    states = face_states(case.motion, case.articulation)
    size = case.picture.shape[0]
    frames = np.stack([draw(case.portrait, state, size=size) for state in states])
    return torch.from_numpy(frames).float() / 255.0


def _make_case(
    name: str,
    rng: np.random.Generator,
    *,
    person: int,
    seconds: float,
    speed_deg_s: float,
    size: int,
    fps: float,
) -> Case:
    portrait = random_portrait(SPLIT, person)
    num_frames = round(seconds * fps)
    utterance, mouth = _moving_utterance(rng, seconds=seconds, fps=fps, num_frames=num_frames)
    motion = random_motion(rng, num_frames=num_frames, fps=fps, speed_deg_s=speed_deg_s)
    boxes = torch.tensor([face_box(portrait, state) for state in face_states(motion, mouth)])
    return Case(
        name=name,
        portrait=portrait,
        picture=_resting_picture(rng, portrait, size=size),
        utterance=utterance,
        num_frames=num_frames,
        fps=fps,
        speed_deg_s=speed_deg_s,
        region=boxes_to_mask(boxes, height=size, width=size, growth=REGION_GROWTH),
        articulation=mouth,
        motion=motion,
    )


def _moving_utterance(
    rng: np.random.Generator, *, seconds: float, fps: float, num_frames: int
) -> tuple[Utterance, np.ndarray]:
    """Draw voices until one moves the mouth enough for a correlation to mean something."""
    while True:
        utterance = random_utterance(SPLIT, int(rng.integers(NUM_VOICES)), seconds=seconds)
        mouth = articulation(utterance, fps=fps, num_frames=num_frames)
        if mouth[:, 0].std() >= LEAST_MOUTH_MOTION:
            return utterance, mouth


def _resting_picture(rng: np.random.Generator, portrait: Portrait, *, size: int) -> Tensor:
    """The portrait as a user might hand it in: nearly frontal, lips closed."""
    state = FaceState(
        yaw_deg=float(rng.uniform(-8, 8)),
        pitch_deg=float(rng.uniform(-4, 4)),
        roll_deg=float(rng.uniform(-3, 3)),
        smile=float(rng.uniform(0.0, 0.5)),
    )
    return torch.from_numpy(draw(portrait, state, size=size)).float() / 255.0
