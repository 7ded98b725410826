"""What a resting `LatentReader` finds wrong with a guess: the face, head speed and likeness.

Letters: B clips, F frames, N images (clips * frames), C channels, h and w of latents, D width of a
likeness.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .batches import Batch
from .clips import EXPRESSION_COLUMNS
from .feeding import Reading, region_of_frames
from .guessing import Guess
from .latent_reader import NUM_MOUTH_SIGNALS, LatentReader, signal_errors, speed_signal

READING_NOISE = 0.1
"""Standard deviation of noise on what the reader sees, so that no fine pattern can deceive it."""
LEAST_EYES = 0.5
"""How much eyes as open as the truth's count where nothing is left of it."""


def with_reading_noise(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Return latents as the reader sees them."""
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    return latents + READING_NOISE * noise


def face_error(
    reader: LatentReader, fed: Batch, guess: Guess, seen: Tensor, reading: Reading
) -> Tensor:
    """How far mouth and expression are from the truth.

    The mouth follows from the voice at any noise; the expression, and a mouth without a voice,
    only from what is left of the true frames. But eyes are open most of the time, and so are
    asked for a little at any noise, else they are shut or missing where the critic cannot tell.

    Args:
        seen: the guess as the reader sees it, (N, C, h, w).
    """
    errors_NS = signal_errors(reader.read_face(seen), fed.face_signals.flatten(0, 1))
    signal_N1 = guess.signal_N111[:, :, 0, 0]
    is_heard_B = reading.is_audio_kept_B
    if is_heard_B is None:
        is_heard_B = torch.ones_like(fed.begins_film_B)
    is_heard_N1 = is_heard_B.repeat_interleave(fed.frames.shape[1])[:, None]
    mouth, expression = errors_NS.tensor_split([NUM_MOUTH_SIGNALS], dim=1)
    mouth = torch.where(is_heard_N1, mouth, signal_N1 * mouth)
    least_E = [LEAST_EYES * name.startswith("blink") for name in EXPRESSION_COLUMNS]
    expression = signal_N1.maximum(signal_N1.new_tensor(least_E)) * expression
    return torch.cat([mouth, expression], dim=1).mean()


def speed_error(
    reader: LatentReader,
    fed: Batch,
    guess: Guess,
    seen: Tensor,
    lead: Tensor,
    reading: Reading,
) -> Tensor:
    """How far head speed is from what was asked; where nobody asked, from the truth as far as
    that is left. Into a film's first frame no speed leads.

    Args:
        seen: the guess as the reader sees it, (N, C, h, w).
        lead: the last motion frames likewise, (B, 1, C, h, w).
    """
    films = seen.unflatten(0, fed.frames.shape[:2])
    before = torch.cat([lead, films[:, :-1]], dim=1).flatten(0, 1)
    asked_BF = speed_signal(fed.speed_windows[..., fed.speed_windows.shape[-1] // 2])
    errors_BF = (reader.read_speed(seen, before).view_as(asked_BF) - asked_BF).square()
    if reading.speed_windows is None:
        errors_BF = guess.signal_N111.view_as(errors_BF) * errors_BF
    is_led_BF = torch.ones_like(errors_BF)
    is_led_BF[:, 0] = (~fed.begins_film_B).to(errors_BF)
    return (is_led_BF * errors_BF).mean()


def likeness_error(
    reader: LatentReader, fed: Batch, seen: Tensor, true_seen: Tensor, reading: Reading
) -> Tensor:
    """How much farther each frame's likeness is from the mean one of the true frames than that
    of any of them is; 0 where nobody was shown.

    Nearer than that is not asked for: it would still the face, whose every look changes its
    likeness a little.

    Args:
        seen, true_seen: the guess and the truth as the reader sees them, (N, C, h, w).
    """
    num_frames = fed.frames.shape[1]
    region = region_of_frames(fed)
    made_BFD, true_BFD = (
        reader.read_likeness(latents, region).unflatten(0, (-1, num_frames))
        for latents in (seen, true_seen)
    )
    person_B1D = normalize(true_BFD.mean(dim=1, keepdim=True), dim=-1)
    made_BF, true_BF = ((frames * person_B1D).sum(-1) for frames in (made_BFD, true_BFD))
    error_BF = (true_BF.amin(dim=1, keepdim=True) - made_BF).relu()
    if reading.is_reference_kept_B is not None:
        error_BF = error_BF * reading.is_reference_kept_B[:, None]
    return error_BF.mean()
