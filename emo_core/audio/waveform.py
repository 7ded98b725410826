"""Sound files in, waveforms out.

Letters in this file: C channels, N samples.

Decoding is left to FFmpeg through PyAV, so wav, mp3, flac, ogg, m4a and the sound of a video all
take the same way. Positions are counted in decoded samples from the first one on, never looked up
by seeking, because a seek in a compressed file lands on a packet border.
"""

import logging
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import torchaudio
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from ..files.on_disk import TensorOnDisk

logger = logging.getLogger(__name__)

SILENCE_PEAK = 1e-5
"""A waveform whose loudest sample is below this (-100 dB of full scale) counts as silent."""

STRETCH_SAMPLES = 1 << 20
"""Samples of each channel that are looked at together."""

FILTER_REACH = 8
"""Samples, of the lower of two rates, on which a resampled one depends to each side, rounded up
(torchaudio's filter has 6 zero crossings and a roll-off of 0.99)."""

MAX_DAMAGED_SHARE = 0.1
"""Share of undecodable packets up to which a file is still used, as players do."""

MAX_RESAMPLING_TERM = 4000
"""Bound on both terms of the resampling ratio; torchaudio's filter has their product as its size.

Every pair of usual rates fits. Others are approximated: 11127 Hz to 16 kHz is off by 2e-7, which is
0.7 ms in an hour, instead of needing a filter of 178 million numbers.
"""


@dataclass(frozen=True)
class Waveform:
    """Sound as samples.

    samples: (C, N) float32, nominally -1..1; a decoder may overshoot a little.
    sample_rate_hz: samples per second of each channel.
    """

    samples: Tensor
    sample_rate_hz: int
    file: TensorOnDisk | None = None
    """Where the samples lie, if not in memory."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples.shape[-1] / self.sample_rate_hz

    def stretches(self) -> Iterator[Tensor]:
        """Yield the samples in pieces (C, n) of a bounded size."""
        for piece in self.samples.split(STRETCH_SAMPLES, dim=-1):
            yield piece
            self.release()

    def release(self) -> None:
        """Give back the memory of samples that lie in a file."""
        if self.file is not None:
            self.file.release()


def read_audio(
    path: str | Path,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    folder: Path | None = None,
) -> Waveform:
    """Decode the first audio stream of a file, or the part of it from `start_s` to `end_s`.

    Args:
        path: any file that FFmpeg can decode; a video's sound is read the same way.
        start_s: where to begin, in seconds after the first sample.
        end_s: where to stop; None reads to the end.
        folder: where to put the samples, so that a long sound costs no memory; None keeps them in
            memory.

    Returns:
        Samples round(start * rate) up to round(end * rate) at the file's own rate. Mono and stereo
        stay as they are. More channels become stereo by FFmpeg's rules for their layout, in which
        the centre channel, where speech sits, is not lost among the others.

    Raises:
        InputError: no such file, no audio stream, damaged, empty or holding NaN; or the part asked
            for is empty or not inside the file.

    A file of which some packets are damaged is read without them, as players do, with one warning.
    """
    path = Path(path)
    if not os.path.isfile(path):  # False for every unusable name; Path.is_file raises for some.
        found = "it is a folder" if os.path.isdir(path) else "there is no such file"
        raise InputError(f"{path}: {found}. Expected a sound file; check the path.")
    if not 0.0 <= start_s < math.inf:
        raise InputError(f"start is {start_s} s. Expected 0 or more; check the start.")
    if end_s is not None and not start_s < end_s < math.inf:
        raise InputError(
            f"The part from {start_s} s to {end_s} s has no length. Expected an end behind the "
            "start; raise the end or leave it out to read to the end of the file."
        )

    waveform = _decode(path, start_s=start_s, end_s=end_s, folder=folder)
    _check_samples(waveform, name=str(path))
    return waveform


def check_waveform(waveform: Waveform, *, name: str) -> None:
    """Raise InputError unless there is something in the waveform that a face could follow.

    Refused are zero length, NaN or infinite samples, and silence from beginning to end (peak below
    `SILENCE_PEAK`), of the channels or of their mean: a wholly silent file is far more often a
    muted track than a wish. Silence is fine where a waveform is only carried along, so reading and
    writing accept it.

    Args:
        name: what the message calls the waveform: its path, or the input it came from.
    """
    _check_samples(waveform, name=name)
    peak = mixed_peak = 0.0
    for piece in waveform.stretches():
        peak = max(peak, piece.abs().amax().item())
        mixed_peak = max(mixed_peak, piece.mean(dim=0).abs().amax().item())
    if peak < SILENCE_PEAK:
        raise InputError(
            f"{name}: the sound is silent; its loudest sample is {peak:.1e}. Expected speech or "
            f"song with a peak of at least {SILENCE_PEAK:.0e}; check that the right track was "
            "exported and that it is not muted."
        )
    if mixed_peak < SILENCE_PEAK:
        raise InputError(
            f"{name}: its {len(waveform.samples)} channels cancel each other, so their mean, which "
            "the face would follow, is silent. Expected channels that say the same; one of them "
            "was turned upside down: use a single channel."
        )


def resample(waveform: Waveform, *, sample_rate_hz: int, is_mixed: bool = False) -> Waveform:
    """The same sound at another rate, with round(N * out / in) samples, at least one.

    torchaudio returns the ceiling of that length; the sample too many is cut. Rates without a small
    common ratio are approximated, see `MAX_RESAMPLING_TERM`. A long sound is filtered in stretches
    that overlap by the filter's reach, with the result of filtering it at once. Where the sound
    lies in a file, the result lies in one beside it.

    Args:
        is_mixed: take the mean of the channels.
    """
    is_mixed = is_mixed and waveform.samples.shape[0] > 1
    ratio = Fraction(waveform.sample_rate_hz, sample_rate_hz)
    if max(ratio.numerator, ratio.denominator) > MAX_RESAMPLING_TERM:
        bound = MAX_RESAMPLING_TERM * min(1.0, 1.0 / float(ratio))
        ratio = ratio.limit_denominator(max(1, int(bound)))
    if ratio == 1 and not is_mixed:
        return Waveform(waveform.samples, sample_rate_hz, waveform.file)
    wanted = max(1, round(waveform.samples.shape[-1] * sample_rate_hz / waveform.sample_rate_hz))
    pieces = _resampled(waveform, ratio, is_mixed=is_mixed, num_samples=wanted)
    return joined(pieces, sample_rate_hz=sample_rate_hz, like=waveform)


def joined(pieces: Iterable[Tensor], *, sample_rate_hz: int, like: Waveform) -> Waveform:
    """Pieces (C, n) of a sound, at least one of them, as one; in a file where `like` lies in one.

    Raises:
        InputError: the disk is full.
    """
    if like.file is None:
        return Waveform(torch.cat(list(pieces), dim=-1), sample_rate_hz)
    file: TensorOnDisk | None = None
    for piece in pieces:
        if file is None:
            file = TensorOnDisk(like.file.folder, row_shape=(len(piece),))
        file.append(piece.T)
    return Waveform(file.tensor().T, sample_rate_hz, file)


def to_mono(waveform: Waveform, *, sample_rate_hz: int) -> Tensor:
    """The mean of the channels at another rate.

    Returns:
        (N',) float32 with N' = round(N * out / in), at least one.
    """
    return resample(waveform, sample_rate_hz=sample_rate_hz, is_mixed=True).samples[0]


def num_video_frames(duration_s: float, *, fps: float) -> int:
    """How many video frames a sound of this length gets: round(duration * fps), at least one."""
    if not 0.0 < fps < math.inf:
        raise InputError(f"The frame rate is {fps}. Expected a number above 0; 25 is usual.")
    return max(1, round(duration_s * fps))


def _resampled(
    waveform: Waveform, ratio: Fraction, *, is_mixed: bool, num_samples: int
) -> Iterator[Tensor]:
    """Yield num_samples in pieces (C, n), one for every `ratio` of the sound's."""
    # Whole steps of the filter, so that every stretch falls on the same samples.
    stretch = max(1, STRETCH_SAMPLES // ratio.numerator) * ratio.numerator
    reach = math.ceil(FILTER_REACH * max(ratio, 1) / ratio.numerator + 1) * ratio.numerator
    missing = num_samples
    for first in range(0, max(waveform.samples.shape[-1], 1), stretch):
        begin = max(0, first - reach)
        piece = waveform.samples[:, begin : first + stretch + reach]
        if is_mixed:
            piece = piece.mean(dim=0, keepdim=True)
        piece = torchaudio.functional.resample(piece, ratio.numerator, ratio.denominator)
        skipped = (first - begin) // ratio.numerator * ratio.denominator
        is_last = first + stretch >= waveform.samples.shape[-1]
        kept = missing
        if not is_last:
            kept = min(missing, stretch // ratio.numerator * ratio.denominator)
        piece = piece[:, skipped : skipped + kept]
        missing -= piece.shape[1]
        yield functional.pad(piece, (0, missing)) if is_last else piece
        waveform.release()


def _check_samples(waveform: Waveform, *, name: str) -> None:
    if waveform.samples.numel() == 0:
        raise InputError(
            f"{name}: the sound has no samples. Expected at least a fraction of a second; check "
            "that the file was exported completely."
        )
    num_bad = sum(int((~torch.isfinite(piece)).sum()) for piece in waveform.stretches())
    if num_bad:
        raise InputError(
            f"{name}: {num_bad} of {waveform.samples.numel()} samples are NaN or infinite. "
            "Expected numbers between -1 and 1; export the sound again."
        )


def _decode(path: Path, *, start_s: float, end_s: float | None, folder: Path | None) -> Waveform:
    pieces: list[np.ndarray] = []
    file: TensorOnDisk | None = None
    sample_rate_hz = first = position = 0
    last: int | None = None
    with closing(_decoded_pieces(path)) as decoded:
        for sample_rate_hz, piece in decoded:
            first = round(start_s * sample_rate_hz)
            last = None if end_s is None else round(end_s * sample_rate_hz)
            end = None if last is None else max(0, last - position)
            kept = piece[:, max(0, first - position) : end]
            if folder is None:
                pieces.append(kept)
            else:
                if file is None:
                    file = TensorOnDisk(folder, row_shape=(len(piece),))
                file.append(torch.from_numpy(kept.T.copy()))
            position += piece.shape[1]
            if last is not None and position >= last:
                break

    if position == 0:
        raise InputError(
            f"{path}: the audio stream holds no sound that can be decoded. Expected at least a "
            "fraction of a second; the file is empty or damaged, so export it again."
        )
    if first >= position or (last is not None and last > position):
        wanted = f"start {start_s} s" if end_s is None else f"start {start_s} s, end {end_s} s"
        raise InputError(
            f"{path}: the sound is {position / sample_rate_hz:.4f} s long, which does not hold "
            f"{wanted}. Expected both inside the sound; leave the end out to read up to its end."
        )
    if file is not None:
        return Waveform(file.tensor().T, sample_rate_hz, file)
    samples = np.concatenate(pieces, axis=1)
    return Waveform(torch.from_numpy(np.ascontiguousarray(samples)), sample_rate_hz)


def _decoded_pieces(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (sample rate, (C, N) float32 with one or two channels), piece by piece."""
    try:
        # Only local files: a playlist may not send us to the network. Tags in an old encoding are
        # none of our business.
        with av.open(
            str(path.resolve()), metadata_errors="replace", options={"protocol_whitelist": "file"}
        ) as container:
            if not container.streams.audio:
                raise InputError(
                    f"{path}: there is no sound in this file. Expected an audio stream; choose a "
                    "sound file or a video with sound."
                )
            stream = container.streams.audio[0]
            resampler: av.AudioResampler | None = None
            pending = np.zeros((1, 0), np.float32)
            sample_rate_hz = position = 0
            for frame in _decoded_frames(container, stream, path=path):
                if resampler is None:
                    layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
                    resampler = av.AudioResampler(format="fltp", layout=layout)
                for converted in resampler.resample(frame):
                    if position:
                        yield sample_rate_hz, pending
                    sample_rate_hz = converted.sample_rate
                    pending = converted.to_ndarray()
                    position += pending.shape[1]
            if "mp4" in container.format.name and stream.duration and position:
                # The encoder filled its last packet; the file's index says where the sound
                # ends, to a millisecond.
                num_declared = round(stream.duration * stream.time_base * sample_rate_hz)
                num_extra = position - num_declared
                if 0 < num_extra < pending.shape[1]:
                    pending = pending[:, :-num_extra]
            if position:
                yield sample_rate_hz, pending
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: the sound cannot be decoded ({error.strerror}). Expected a complete sound "
            "or video file; check that it plays, or convert it to wav."
        ) from error


def _decoded_frames(
    container: av.container.InputContainer, stream: av.AudioStream, *, path: Path
) -> Iterator[av.AudioFrame]:
    """Decode all packets of a stream except damaged ones, unless those are too many."""
    num_packets = num_damaged = 0
    for packet in container.demux(stream):
        num_packets += 1
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            num_damaged += 1
    if num_damaged > MAX_DAMAGED_SHARE * num_packets:
        raise InputError(
            f"{path}: {num_damaged} of {num_packets} audio packets are damaged. Expected a "
            "complete sound file; check that it plays, or convert it to wav."
        )
    if num_damaged:
        logger.warning("%s: left out %d damaged audio packets", path, num_damaged)
