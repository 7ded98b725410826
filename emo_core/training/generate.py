"""Clips that the project draws and voices itself: `python -m emo_core data`.

Every clip is a new person with a new voice: clip number i of a split is portrait i and utterance
i of that split, so splits share neither. The head's motion is independent of the voice, since EMO
steers it by speed alone; brows, lids and cheeks go with the voice.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchaudio
from tqdm import tqdm

from ..errors import InputError
from ..face.motion import angular_speed, rotation_matrices
from ..synthetic.drawing import FaceState, draw, face_box, mouth_box
from ..synthetic.expression import expressive
from ..synthetic.manner import MANNERS
from ..synthetic.motion import face_states, random_motion
from ..synthetic.portrait import Portrait, random_portrait
from ..synthetic.voices import Utterance, articulation, random_utterance, utterance_of_kind
from .clips import (
    ARTICULATION_RATE_HZ,
    EXPRESSION_COLUMNS,
    SOUND_RATE_HZ,
    Clip,
    save_clip,
)

SOUND_SECONDS = 4.0
HIGHEST_SPEED_DEG_S = 60.0
STEADY_SHARE = 0.7
"""Share of clips whose speed is constant; in the others it glides between two values."""
RESTING_SHARE = 0.6
"""Share of reference pictures with closed lips."""
POSED_SHARE = 0.5
"""Share of reference pictures with the head as in a frame of the clip's first half, so that a film
may begin from them."""
RHYTHM_SHARE = 0.1
MANNER_SHARES = (0.8, 0.1, 0.1)
"""Of the other voices, in the order of MANNERS."""
ENCODER_VOICES = range(7000, 31000)
"""Numbers of the train split whose voices teach the audio encoder, and no clip has them: the
networks should meet an encoder that is as unsure of the clips' voices as of users'."""
POSE = ("yaw_deg", "pitch_deg", "roll_deg", "offset_x", "offset_y")
"""Of a `FaceState`."""
VOICE, EXPRESSION = 9, 10
"""What a clip's chance of these begins with, apart from all other."""


def clip_generator(split: str, index: int) -> np.random.Generator:
    """Return the source of what is random in a clip besides its portrait and its voice."""
    return np.random.default_rng([zlib.crc32(split.encode()), index, 7])


def clip_utterance(split: str, index: int) -> Utterance:
    """Return the voice of a clip: that of its number, now and then whispered, shouted, or rap."""
    rng = np.random.default_rng([zlib.crc32(split.encode()), index, VOICE])
    if rng.random() < RHYTHM_SHARE:
        return utterance_of_kind("rhythm", split, index, seconds=SOUND_SECONDS)
    manner = MANNERS[rng.choice(len(MANNERS), p=MANNER_SHARES)]
    return random_utterance(split, index, seconds=SOUND_SECONDS, manner=manner)


def random_speed(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """Return wanted head speeds [F] in degrees per second; slow motion is the most frequent."""
    ends = HIGHEST_SPEED_DEG_S * rng.uniform(0.0, 1.0, 2) ** 1.5
    if rng.uniform() < STEADY_SHARE:
        ends[1] = ends[0]
    return np.linspace(ends[0], ends[1], num_frames)


def draw_references(
    portrait: Portrait,
    states: Sequence[FaceState],
    rng: np.random.Generator,
    *,
    count: int,
    size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw other pictures of a person, as a user might hand them in.

    Args:
        states: the person's in a clip.

    Returns:
        The pictures, uint8 [R, H, W, 3], and for each the number of the frame whose head it shows
        with another look, int64 [R]; -1 where the head is anywhere.
    """
    pictures = []
    num_posed = int(POSED_SHARE * count)
    frame_R = np.full(count, -1)
    frame_R[:num_posed] = rng.integers(0, len(states) // 2 + 1, num_posed)
    for frame in frame_R.tolist():
        is_resting = rng.uniform() < RESTING_SHARE
        state = FaceState(
            yaw_deg=float(np.clip(rng.normal(0.0, 9.0), -25, 25)),
            pitch_deg=float(np.clip(rng.normal(0.0, 5.0), -14, 14)),
            roll_deg=float(np.clip(rng.normal(0.0, 4.0), -12, 12)),
            offset_x=float(rng.normal(0.0, 0.01)),
            offset_y=float(rng.normal(0.0, 0.01)),
            mouth_open=0.0 if is_resting else float(rng.uniform(0.0, 1.0)),
            mouth_width=float(rng.uniform(-0.3, 0.5)),
            teeth=float(rng.uniform(0.0, 1.0)),
            smile=float(rng.uniform(0.0, 1.0)),
            brow_raise=float(rng.normal(0.0, 0.3)),
        )
        if frame >= 0:
            pose = {name: getattr(states[frame], name) for name in POSE}
            state = dataclasses.replace(state, **pose)
        pictures.append(draw(portrait, state, size=size))
    stacked = np.stack(pictures) if pictures else np.zeros((0, size, size, 3), np.uint8)
    return stacked, frame_R


def make_clip(
    split: str, index: int, *, num_frames: int, num_references: int, fps: float, size: int
) -> Clip:
    """Draw and voice clip number `index` of a split. The same arguments give the same clip."""
    rng = clip_generator(split, index)
    portrait = random_portrait(split, index)
    utterance = clip_utterance(split, index)
    first_frame = int(rng.integers(0, round(SOUND_SECONDS * fps) - num_frames + 1))
    shapes = articulation(utterance, fps=fps, num_frames=round(SOUND_SECONDS * fps))
    motion = random_motion(
        rng, num_frames=num_frames, fps=fps, speed_deg_s=random_speed(rng, num_frames)
    )
    of_face = np.random.default_rng([zlib.crc32(split.encode()), index, EXPRESSION])
    motion = expressive(motion, utterance.phonemes, of_face, fps=fps, first_frame=first_frame)
    states = face_states(motion, shapes[first_frame : first_frame + num_frames])
    rotations = rotation_matrices(motion.yaw_deg, motion.pitch_deg, motion.roll_deg)
    samples = torchaudio.functional.resample(
        torch.from_numpy(utterance.samples), utterance.sample_rate_hz, SOUND_RATE_HZ
    )
    references, reference_frames = draw_references(
        portrait, states, rng, count=num_references, size=size
    )
    return Clip(
        frames=torch.from_numpy(np.stack([draw(portrait, state, size=size) for state in states])),
        references=torch.from_numpy(references),
        reference_frames=torch.from_numpy(reference_frames),
        waveform=samples[: round(SOUND_SECONDS * SOUND_RATE_HZ)],
        first_frame=first_frame,
        fps=fps,
        face_boxes=torch.tensor([face_box(portrait, state) for state in states]),
        mouth_boxes=torch.tensor([mouth_box(portrait, state) for state in states]),
        speed_deg_s=torch.from_numpy(angular_speed(rotations, fps=fps)).float(),
        articulation=torch.from_numpy(
            articulation(
                utterance,
                fps=ARTICULATION_RATE_HZ,
                num_frames=round(SOUND_SECONDS * ARTICULATION_RATE_HZ),
            )
        ),
        expression=torch.from_numpy(
            np.stack([getattr(motion, name) for name in EXPRESSION_COLUMNS], axis=1)
        ),
    )


def _make_file(
    index: int,
    *,
    split: str,
    folder: Path,
    num_frames: int,
    num_references: int,
    fps: float,
    size: int,
) -> None:
    path = folder / f"clip_{index:06d}.safetensors"
    if path.exists():
        return
    torch.set_num_threads(1)
    clip = make_clip(
        split, index, num_frames=num_frames, num_references=num_references, fps=fps, size=size
    )
    save_clip(clip, path)


def generate_clips(
    folder: Path,
    *,
    split: str,
    first: int = 0,
    num_clips: int,
    num_frames: int,
    num_references: int,
    fps: float,
    size: int,
    num_workers: int,
) -> None:
    """Fill `folder` with `num_clips` clips from number `first` on; those already there are kept.

    Raises:
        InputError: `first` is negative, some clips would have voices that teach the audio
            encoder, clips would be longer than their sound, or there would be no worker.
    """
    if first < 0:
        raise InputError(
            f"data: --first {first}; expected the number of the first clip, 0 or more."
        )
    if num_workers < 1:
        raise InputError(f"data: --workers {num_workers}; expected at least 1.")
    most_frames = round(SOUND_SECONDS * fps)
    if not 1 <= num_frames <= most_frames:
        raise InputError(
            f"data: --frames {num_frames}; a clip's sound has {SOUND_SECONDS:g} s, expected 1 to "
            f"{most_frames} frames at {fps:g} per second. Give fewer."
        )
    last = first + num_clips - 1
    if split == "train" and last >= ENCODER_VOICES.start and first < ENCODER_VOICES.stop:
        raise InputError(
            f"data: clips {first} to {last} of the train split; numbers "
            f"{ENCODER_VOICES.start} to {ENCODER_VOICES[-1]} are voices that the audio encoder "
            "learns from, which no clip should have. End below them, or give "
            f"--first {ENCODER_VOICES.stop} or more."
        )
    folder.mkdir(parents=True, exist_ok=True)
    make = partial(
        _make_file,
        split=split,
        folder=folder,
        num_frames=num_frames,
        num_references=num_references,
        fps=fps,
        size=size,
    )
    with ProcessPoolExecutor(num_workers) as pool:
        done = pool.map(make, range(first, first + num_clips), chunksize=4)
        for _ in tqdm(done, total=num_clips, desc=f"{split} clips", unit="clip"):
            pass
