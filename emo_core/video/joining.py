"""Pieces of film, one behind the other, become one film; neighbours may be cross-faded.

A cross-fade of K frames lays the last K frames of a piece over the first K of the next, so every
joint makes the film K frames shorter. Pictures and sounds fade linearly: where both show or say the
same, as pieces of one film do, nothing is seen or heard of it.

Letters in this file: T frames, H and W rows and columns of pixels, C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional

from ..audio.waveform import Waveform, resample
from ..errors import InputError
from .writer import frame_rate


def joined_length(lengths: Sequence[int], *, crossfade: int) -> int:
    """How many frames pieces of these lengths make, at least one piece.

    Raises:
        InputError: a piece is shorter than what its neighbours lay over it.
    """
    for index, length in enumerate(lengths):
        num_joints = (index > 0) + (index < len(lengths) - 1)
        if length < num_joints * crossfade:
            sides = "one neighbour" if num_joints == 1 else "both neighbours"
            raise InputError(
                f"piece {index + 1} of {len(lengths)} has {length} frames. Expected at least "
                f"{num_joints * crossfade}, since a cross-fade of {crossfade} frames lays {sides} "
                "over it; shorten the cross-fade or make the piece longer."
            )
    return sum(lengths) - (len(lengths) - 1) * crossfade


def joined_frames(
    parts: Iterable[Tensor], lengths: Sequence[int], *, crossfade: int
) -> Iterator[Tensor]:
    """Lay the ends of pieces over each other. No more than `crossfade` frames are held.

    Args:
        parts: all frames of all pieces in order, (T, H, W, 3) floats, cut anywhere.
        lengths: frames of each piece; `joined_length` must have accepted them.
        crossfade: frames that neighbours share; 0 puts one behind the other.

    Yields:
        (T, H, W, 3): frame i of K in a cross-fade is i + 1 parts of K + 1 of the later piece.
    """
    later_K = torch.arange(1, crossfade + 1) / (crossfade + 1)
    held: list[Tensor] = []
    for piece_index, first, frames_THW3 in _within_pieces(parts, lengths):
        if piece_index > 0 and first < crossfade:
            shared = frames_THW3[: crossfade - first]
            earlier = torch.stack([held.pop(0) for _ in shared])
            share = later_K[first : first + len(shared)].to(shared)[:, None, None, None]
            yield torch.lerp(earlier, shared, share)
            first, frames_THW3 = first + len(shared), frames_THW3[len(shared) :]
        num_alone = len(frames_THW3)
        if piece_index < len(lengths) - 1:
            num_alone = max(0, min(num_alone, lengths[piece_index] - crossfade - first))
        if num_alone:
            yield frames_THW3[:num_alone]
        held += [frame.clone() for frame in frames_THW3[num_alone:]]


def joined_sound(
    sounds: Sequence[Waveform | None],
    lengths: Sequence[int],
    *,
    crossfade: int,
    fps: float | Fraction,
) -> Waveform:
    """The sounds of pieces, laid over each other where their pictures are.

    A piece that begins at frame f of the film begins at sample round(f / fps * rate), however many
    come before it. Its sound is cut at its picture's end, or followed by silence.

    Args:
        sounds: of each piece; None is silence. At least one is a sound. Others are brought to the
            sample rate and the number of channels of the first.
        lengths: frames of each piece; `joined_length` must have accepted them.
        crossfade: frames that neighbours share.
        fps: frames per second of the film.

    Returns:
        (C, round(film's frames / fps * rate)) samples.

    Raises:
        InputError: a sound has no samples.
    """
    like = next(sound for sound in sounds if sound is not None)
    rate_hz, num_channels = like.sample_rate_hz, like.samples.shape[0]
    starts = [sum(lengths[:index]) - index * crossfade for index in range(len(lengths))]
    starts_N = [_sample_at(start, fps, rate_hz) for start in starts]
    ends_N = [_sample_at(s + n, fps, rate_hz) for s, n in zip(starts, lengths, strict=True)]
    film_CN = torch.zeros(num_channels, ends_N[-1])
    for index, sound in enumerate(sounds):
        if sound is None:
            continue
        if sound.samples.shape[1] == 0:
            raise InputError(
                f"the sound of piece {index + 1} of {len(sounds)} is empty. Expected samples; "
                "export it again, or leave it out for silence."
            )
        start, end = starts_N[index], ends_N[index]
        piece_CN = _with_channels(resample(sound, sample_rate_hz=rate_hz).samples, num_channels)
        piece_CN = functional.pad(piece_CN, (0, end - start - piece_CN.shape[1]))
        if index > 0:
            piece_CN = piece_CN * _rising(ends_N[index - 1] - start, len_N=end - start)
        if index < len(sounds) - 1:
            piece_CN = piece_CN * _rising(end - starts_N[index + 1], len_N=end - start).flip(0)
        film_CN[:, start:end] += piece_CN
    return Waveform(film_CN, rate_hz)


def _within_pieces(
    parts: Iterable[Tensor], lengths: Sequence[int]
) -> Iterator[tuple[int, int, Tensor]]:
    """Cut parts where pieces end; yield the piece's index and the first frame's place in it."""
    piece_index = place = 0
    for part in parts:
        while len(part):
            while place == lengths[piece_index]:
                piece_index, place = piece_index + 1, 0
            frames = part[: lengths[piece_index] - place]
            yield piece_index, place, frames
            place += len(frames)
            part = part[len(frames) :]


def _sample_at(frame: int, fps: float | Fraction, rate_hz: int) -> int:
    return round(frame / frame_rate(fps) * rate_hz)


def _with_channels(samples_CN: Tensor, num_channels: int) -> Tensor:
    """One channel is copied into all; of other numbers every channel gets the mean."""
    if samples_CN.shape[0] == num_channels:
        return samples_CN
    return samples_CN.mean(dim=0, keepdim=True).expand(num_channels, -1)


def _rising(num_N: int, *, len_N: int) -> Tensor:
    """Over the first samples from 0 to 1, where those of the other sound go from 1 to 0; then 1."""
    weights_N = torch.ones(len_N)
    weights_N[:num_N] = (torch.arange(num_N) + 0.5) / max(1, num_N)
    return weights_N
