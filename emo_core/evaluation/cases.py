"""The films that a model is asked for: portraits and voices of the test split, with their truth.

Letters: F frames, H and W rows and columns, P portraits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..audio.waveform import Waveform
from ..errors import InputError
from ..face.region import boxes_to_mask
from ..synthetic.drawing import FaceState, draw, face_box
from ..synthetic.motion import HeadMotion, face_states, random_motion
from ..synthetic.portrait import Portrait, random_portrait
from ..synthetic.voices import Kind, Utterance, articulation, random_utterance, utterance_of_kind

SPLIT = "test"
GALLERY_SIZE = 50
TALK_SECONDS = 4.0
TALK_VOICES: tuple[tuple[Kind, str], ...] = (
    ("speech", "en-us"),
    ("song", ""),
    ("rhythm", ""),
    ("silence", ""),
    ("speech", "cmn"),
    ("speech", "ru"),
    ("speech", "hi"),
    ("speech", "fr"),
    ("speech", "ja"),
    ("speech", "sw"),
)
"""Kind and language of the talk films in turn: seven languages of seven families and branches
(Germanic, Sinitic, Slavic, Indo-Aryan, Romance, Japonic, Bantu). Of 50 films each has five; the
first four films have one of every kind."""
TALK_SPEEDS_DEG_S = (5.0, 25.0)
"""Range of the steady head speeds asked for in talk films."""
SPEEDS_DEG_S = (2.0, 10.0, 20.0, 35.0, 50.0)
LONG_SPEED_DEG_S = 12.0
REGION_GROWTH = 0.05
"""How much the boxes of the true motion are widened, in fractions of their size."""
LEAST_MOUTH_MOTION = 0.12
"""Standard deviation of the true mouth opening in a voice that is worth measuring."""
SILENCE_MARGIN_S = 0.25
"""From a silent frame to the next sound: a mouth may be early or late."""
CLOSED = 0.01
NUM_PEOPLE = 100_000
NUM_VOICES = 1_000_000
LONGEST_SECONDS = 3600.0
TALK, SPEED, LONG, OTHERS = range(1, 5)
"""What a film's numbers begin with, from which its chance is drawn."""


@dataclass(frozen=True, eq=False)
class Case:
    """One film to be made, and what it should show."""

    name: str
    seed: int
    """Of the evaluation; a model draws its noise from it."""
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

    @property
    def is_silent(self) -> np.ndarray:
        """Where the mouth should rest, bool [F]: lips closed, and no sound for a while around."""
        sounds = [(sound.start_s, sound.end_s) for sound in self.utterance.phonemes]
        return silent_frames(self.mouth_open, sounds, fps=self.fps)


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

    Speed films and the long film do not depend on the number of talk films, and a talk film not on
    those after it.

    Args:
        num_clips: talk films of 4 seconds, from 2 to 50, each of another person, their voices as in
            TALK_VOICES.
        size: side of the pictures in pixels.
        num_speed_portraits: people that are filmed at each of the five speeds.
        long_seconds: length of the long film.

    Raises:
        InputError: the seed is negative, or a number or a length is out of range.
    """
    if seed < 0:
        raise InputError(f"Evaluation: seed {seed}, expected 0 or more. Give another seed.")
    if not 2 <= num_clips <= GALLERY_SIZE or num_speed_portraits < 1:
        raise InputError(
            f"Evaluation: {num_clips} talk films and {num_speed_portraits} people for the speeds, "
            f"expected 2 to {GALLERY_SIZE} films, since the control needs a second voice, and at "
            "least 1 person. Give other numbers."
        )
    if not 1.0 <= long_seconds <= LONGEST_SECONDS:
        raise InputError(
            f"Evaluation: a long film of {long_seconds:g} s, expected 1 to {LONGEST_SECONDS:g} s. "
            "Give another length."
        )
    rng = np.random.default_rng([seed, 4])
    people = rng.choice(NUM_PEOPLE, GALLERY_SIZE + num_speed_portraits + 1, replace=False).tolist()
    portraits = [random_portrait(SPLIT, person) for person in people]
    make = partial(_make_case, seed=seed, size=size, fps=fps)
    talk = tuple(
        make(
            f"talk {place:02d}",
            portrait,
            chance=(TALK, place),
            voice=TALK_VOICES[place % len(TALK_VOICES)],
            seconds=TALK_SECONDS,
        )
        for place, portrait in enumerate(portraits[:num_clips])
    )
    speed = tuple(
        make(
            f"speed {place} {wanted:g}",
            portrait,
            chance=(SPEED, place, step),
            seconds=speed_seconds,
            speed_deg_s=wanted,
        )
        for place, portrait in enumerate(portraits[GALLERY_SIZE:-1])
        for step, wanted in enumerate(SPEEDS_DEG_S)
    )
    others = [
        _resting_picture(_generator(seed, (OTHERS, place)), portrait, size=size)
        for place, portrait in enumerate(portraits[num_clips:GALLERY_SIZE])
    ]
    return CaseSet(
        talk=talk,
        speed=speed,
        long=make(
            "long",
            portraits[-1],
            chance=(LONG,),
            seconds=long_seconds,
            speed_deg_s=LONG_SPEED_DEG_S,
        ),
        gallery=torch.stack([case.picture for case in talk] + others),
    )


def silent_frames(
    mouth_open_F: np.ndarray, sounds: Sequence[tuple[float, float]], *, fps: float
) -> np.ndarray:
    """Where nothing is said, bool [F]: lips closed, and no sound within SILENCE_MARGIN_S.

    Args:
        mouth_open_F: the true opening at the frames' centres, (f + 0.5) / fps.
        sounds: their starts and ends in seconds.
    """
    center_F = (np.arange(len(mouth_open_F)) + 0.5) / fps
    is_silent_F = mouth_open_F < CLOSED
    for start_s, end_s in sounds:
        away_F = np.maximum(start_s - center_F, center_F - end_s)
        is_silent_F &= away_F > SILENCE_MARGIN_S
    return is_silent_F


def draw_answer(case: Case) -> Tensor:
    """Draw the film that was asked for: the best answer there is, float32 [F, H, W, 3] of 0..1."""
    states = face_states(case.motion, case.articulation)
    size = case.picture.shape[0]
    frames = np.stack([draw(case.portrait, state, size=size) for state in states])
    return torch.from_numpy(frames).float() / 255.0


def _make_case(
    name: str,
    portrait: Portrait,
    *,
    chance: tuple[int, ...],
    seed: int,
    seconds: float,
    size: int,
    fps: float,
    voice: tuple[Kind, str] | None = None,
    speed_deg_s: float | None = None,
) -> Case:
    """One case.

    Args:
        chance: numbers of the film, unlike those of any other.
        voice: kind and language; None leaves them to chance.
        speed_deg_s: None takes one of TALK_SPEEDS_DEG_S.
    """
    rng = _generator(seed, chance)
    picture = _resting_picture(rng, portrait, size=size)
    num_frames = round(seconds * fps)
    utterance, mouth = _utterance(rng, voice, seconds=seconds, fps=fps, num_frames=num_frames)
    if speed_deg_s is None:
        speed_deg_s = float(rng.uniform(*TALK_SPEEDS_DEG_S))
    motion = random_motion(rng, num_frames=num_frames, fps=fps, speed_deg_s=speed_deg_s)
    boxes = torch.tensor([face_box(portrait, state) for state in face_states(motion, mouth)])
    return Case(
        name=name,
        seed=seed,
        portrait=portrait,
        picture=picture,
        utterance=utterance,
        num_frames=num_frames,
        fps=fps,
        speed_deg_s=speed_deg_s,
        region=boxes_to_mask(boxes, height=size, width=size, growth=REGION_GROWTH),
        articulation=mouth,
        motion=motion,
    )


def _generator(seed: int, chance: tuple[int, ...]) -> np.random.Generator:
    return np.random.default_rng([seed, 4, *chance])


def _utterance(
    rng: np.random.Generator,
    voice: tuple[Kind, str] | None,
    *,
    seconds: float,
    fps: float,
    num_frames: int,
) -> tuple[Utterance, np.ndarray]:
    """Draw voices until one moves the mouth enough for a correlation to mean something.

    Silence, where it is asked for, moves nothing.
    """
    while True:
        index = int(rng.integers(NUM_VOICES))
        if voice is None:
            utterance = random_utterance(SPLIT, index, seconds=seconds)
        else:
            kind, language = voice
            utterance = utterance_of_kind(kind, SPLIT, index, seconds=seconds, language=language)
        mouth = articulation(utterance, fps=fps, num_frames=num_frames)
        if mouth[:, 0].std() >= LEAST_MOUTH_MOTION or voice == ("silence", ""):
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
