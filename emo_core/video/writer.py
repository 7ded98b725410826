"""Stream frames and their sound into an mp4 file.

Letters in this file: T frames, H height, W width, C channels, N samples.

Picture: H.264 through libx264, yuv420p. RGB becomes YUV by the BT.709 matrix in limited range, and
the file is tagged so; untagged files are read as BT.601 by some players, which turns skin orange.
Sound: AAC of the recording as it was handed in, not of the mono the model hears.

Every packet is written twice: into the film, whose index is known only at its end, and into a
fragmented mp4 (ISO/IEC 14496-12, movie fragments) that plays at any time. The film is not made from
the fragments at the end, because these lose where the sound begins: FFmpeg moves all times instead.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace
from torch import Tensor
from torch.nn import functional

from ..audio.waveform import Waveform, resample
from ..errors import InputError
from ..files.replace import explaining_os_errors, remove_stale, replacing, shown_meanwhile
from .frame_bytes import frames_as_bytes
from .provenance import TITLE, generated_note, xmp_box

MIN_SIDE = 16
MAX_FPS = 240
MAX_RATE_TERM = 1001
"""Denominators up to this are tried for a float frame rate, so that 29.97002997 is 30000/1001."""

AAC_BITS_PER_SAMPLE = 4
AAC_MAX_BIT_RATE = 96_000
"""Per channel. AAC allows 6 bits per sample, which low rates such as 8000 Hz would run into."""

FRAGMENT_S = 0.5
"""Length of the pieces in which the film in the making grows."""
_FRAGMENTED = {
    "movflags": "+empty_moov+default_base_moof",
    "frag_duration": str(round(FRAGMENT_S * 1e6)),
    "flush_packets": "1",
    # Below 5 fps libx264 is more than FFmpeg's 10 s behind the sound, and the muxer aborts.
    "max_interleave_delta": "0",
}

_BT709 = 1
"""The number of BT.709 among primaries, transfer functions and matrices alike (ITU-T H.273)."""


def frame_rate(fps: float | Fraction) -> Fraction:
    """The nearest rate with a denominator up to 1001: 29.97002997 is 30000/1001."""
    return Fraction(fps).limit_denominator(MAX_RATE_TERM)


class Mp4Writer:
    """A context manager that takes frames in any number of pieces and leaves a complete mp4 file.

    Nothing is seen at `path` before the block has ended well. After any exception, Ctrl-C included,
    no new file is left and an older one is untouched. Memory does not grow with the number of
    frames: sound is encoded alongside the picture it belongs to, and let go where it lies in a
    file.

    Inside the block the film can be watched at `partial_path`, about 60 frames behind: libx264
    looks 40 frames ahead, and further with many cores. The disk holds the film twice until the
    block ends, when this file goes away. A program that is killed leaves it, playable, and a hidden
    file, which the next film that is written there a week later removes.

    Picture and sound last num_frames / fps, to the sample: longer sound is cut, shorter sound is
    followed by silence. Mono and stereo keep their channels and, where AAC knows it, their sample
    rate; a rate that AAC does not know is raised to the next it knows. Of more than two channels
    the mean is taken, because a waveform does not say which channel is which.

    An odd width or height grows by one pixel, a copy of the last column or row: yuv420p shares
    colour between pairs of pixels.

    Args:
        path: the file to write, ending in .mp4, in a folder that exists.
        fps: frames per second. Fractions are exact; a float is read as the nearest fraction with a
            denominator up to 1001.
        width: of the frames in pixels, at least 16.
        height: of the frames in pixels, at least 16.
        num_frames: how many frames will come.
        sound: the recording, or None for a film without sound.
        crf: constant rate factor of libx264: 0 is lossless, 18 looks so, 28 is small, 51 is worst.
        comment: free text for the file's comment, beside the note that the picture is generated.

    Raises:
        InputError: from the constructor, on settings it cannot use; inside the block, if the disk
            is full or refuses, or frames hold NaN.
        ValueError: more or fewer frames than num_frames, or frames of another size.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fps: float | Fraction,
        width: int,
        height: int,
        num_frames: int,
        sound: Waveform | None = None,
        crf: int = 18,
        comment: str = "",
    ) -> None:
        self.path = Path(path)
        _check_settings(self.path, fps=fps, width=width, height=height, crf=crf)
        if num_frames < 1:
            raise InputError(f"{path}: {num_frames} frames are too few. Expected at least 1.")
        self.fps = frame_rate(fps)
        self.width = width
        self.height = height
        self.num_frames = num_frames
        self.crf = crf
        self.comment = comment
        self.num_written = 0
        self.partial_path: Path | None = None
        """The film in the making; None before the block."""
        self._sound = None if sound is None else _as_aac_takes_it(sound)
        self._num_samples = 0

    def __enter__(self) -> "Mp4Writer":
        self._film = self._writing()
        self._film.__enter__()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._film.__exit__(error_type, error, traceback)

    def write(self, frames: Tensor) -> None:
        """Append frames.

        Args:
            frames: (T, height, width, 3), floats in 0..1 or uint8, on any device; T may be 0.
        """
        if frames.shape[1:3] != (self.height, self.width):
            raise ValueError(
                f"{self.path}: frames of shape {tuple(frames.shape)} came. Expected "
                f"(T, {self.height}, {self.width}, 3)."
            )
        if self.num_written + frames.shape[0] > self.num_frames:
            raise ValueError(
                f"{self.path}: {self.num_written + frames.shape[0]} frames came. Expected "
                f"{self.num_frames}."
            )
        with explaining_os_errors(self.path):
            for frame in frames_as_bytes(frames, first_index=self.num_written):
                self._write_frame(frame)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """What happens before and after the block; an exception in the block arrives here."""
        with replacing(self.path) as temporary, shown_meanwhile(self.path) as self.partial_path:
            remove_stale(self.path.parent)
            # This opens no file yet; `_open` does.
            self._container = av.open(
                str(temporary), "w", format="mp4", options={"movflags": "+faststart"}
            )
            self._partial = av.open(str(self.partial_path), "w", format="mp4", options=_FRAGMENTED)
            try:
                with explaining_os_errors(self.path):
                    self._open()
                yield
                if self.num_written != self.num_frames:
                    raise ValueError(
                        f"{self.path}: {self.num_written} frames came. Expected {self.num_frames}."
                    )
                with explaining_os_errors(self.path):
                    self._finish(temporary)
            except BaseException:
                # Closing writes the file's index, which may fail for the same reason again.
                for container in (self._container, self._partial):
                    with suppress(OSError, av.error.FFmpegError):
                        container.close()
                raise

    def _open(self) -> None:
        for container in (self._container, self._partial):
            container.metadata["title"] = TITLE
            container.metadata["comment"] = generated_note(self.comment)

        self._picture = self._container.add_stream("libx264", rate=self.fps)
        self._picture.width = self.width + self.width % 2
        self._picture.height = self.height + self.height % 2
        self._picture.pix_fmt = "yuv420p"
        self._picture.options = {"crf": str(self.crf)}
        encoder = self._picture.codec_context
        encoder.color_primaries = encoder.color_trc = encoder.colorspace = _BT709
        encoder.color_range = ColorRange.MPEG

        if self._sound is not None:
            num_channels = self._sound.samples.shape[0]
            bit_rate = AAC_BITS_PER_SAMPLE * self._sound.sample_rate_hz
            self._track = self._container.add_stream("aac", rate=self._sound.sample_rate_hz)
            self._track.layout = _layout(num_channels)
            self._track.bit_rate = num_channels * min(AAC_MAX_BIT_RATE, bit_rate)
        self._container.start_encoding()
        # Only now the encoders know what a file's head says of them.
        self._partial_streams = [
            self._partial.add_stream_from_template(stream) for stream in self._container.streams
        ]
        self._partial.start_encoding()

    def _mux(self, packets: list[av.Packet]) -> None:
        """Write encoded packets into both files. Muxing empties a packet, so one gets a copy."""
        for packet in packets:
            copy = av.Packet(bytes(packet))
            copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
            copy.time_base, copy.is_keyframe = packet.time_base, packet.is_keyframe
            copy.stream = self._partial_streams[packet.stream_index]
            self._partial.mux(copy)
            self._container.mux(packet)

    def _write_frame(self, frame: Tensor) -> None:
        pad_right, pad_bottom = self.width % 2, self.height % 2
        if pad_right or pad_bottom:
            planes = functional.pad(
                frame.permute(2, 0, 1)[None].float(), (0, pad_right, 0, pad_bottom), "replicate"
            )
            frame = planes[0].permute(1, 2, 0).to(torch.uint8)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.numpy()), format="rgb24")
        picture = picture.reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        picture.pts = self.num_written
        picture.time_base = 1 / self.fps
        self._mux(self._picture.encode(picture))
        self.num_written += 1
        if self._sound is not None:
            self._write_sound(until=self.num_written / self.fps)

    def _write_sound(self, *, until: Fraction) -> None:
        """Encode the samples up to a time in seconds, with silence behind the recording's end."""
        rate = self._sound.sample_rate_hz
        start, end = self._num_samples, round(until * rate)
        if end == start:
            return
        samples = self._sound.samples[:, start:end]
        samples = functional.pad(samples, (0, end - start - samples.shape[1]))
        piece = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.numpy()),
            format="fltp",
            layout=_layout(samples.shape[0]),
        )
        piece.sample_rate = rate
        piece.pts = start
        piece.time_base = Fraction(1, rate)
        self._mux(self._track.encode(piece))
        self._num_samples = end
        self._sound.release()

    def _finish(self, temporary: Path) -> None:
        self._mux(self._picture.encode(None))
        if self._sound is not None:
            self._mux(self._track.encode(None))
        self._partial.close()
        self._container.close()
        with temporary.open("ab") as file:
            file.write(xmp_box(self.comment))


def _check_settings(
    path: Path, *, fps: float | Fraction, width: int, height: int, crf: int
) -> None:
    if path.suffix.lower() != ".mp4":
        raise InputError(
            f"{path}: the name ends in {path.suffix or 'nothing'}. Expected .mp4; rename it."
        )
    if not (math.isfinite(fps) and 1 <= fps <= MAX_FPS):
        raise InputError(f"The frame rate is {fps}. Expected 1 to {MAX_FPS}; 25 is usual.")
    if min(width, height) < MIN_SIDE:
        raise InputError(
            f"The film is {width} x {height} pixels. Expected at least {MIN_SIDE} x {MIN_SIDE}; "
            "choose a larger size."
        )
    if not 0 <= crf <= 51:
        raise InputError(f"The quality (crf) is {crf}. Expected 0 to 51; 18 is usual.")


def _as_aac_takes_it(sound: Waveform) -> Waveform:
    """Mono or stereo on the CPU, at a sample rate that AAC has."""
    is_finite = all(bool(torch.isfinite(piece).all()) for piece in sound.stretches())
    if sound.samples.numel() == 0 or not is_finite:
        raise InputError(
            "The sound of the film is empty or holds NaN. Expected numbers between -1 and 1; "
            "check it with a player, or write the film without sound."
        )
    sound = replace(sound, samples=sound.samples.detach().float().cpu())
    rates = sorted(av.Codec("aac", "w").audio_rates)
    rate = next((rate for rate in rates if rate >= sound.sample_rate_hz), rates[-1])
    return resample(sound, sample_rate_hz=rate, is_mixed=sound.samples.shape[0] > 2)


def _layout(num_channels: int) -> str:
    return "mono" if num_channels == 1 else "stereo"
