"""A film's sound -> rows, and any frame's window of rows, with each family's own timing.

A row is what the encoder says of one moment (see `config.AUDIO_TIMINGS`). For emo and Hallo it is
a frame's, V-Express has two for a frame, EchoMimic's are the encoder's own steps of 20 ms.

Sources: Hallo, `hallo/datasets/audio_processor.py` (preprocess), `hallo/models/wav2vec.py`,
`scripts/inference.py` (process_audio_emb); EchoMimic, `src/models/whisper/audio2feature.py`
(get_sliced_feature); V-Express, `pipelines/v_express_pipeline.py` (prepare_audio_embeddings).

Letters: N samples, T steps of 20 ms, R rows, F frames whose windows are cut, W rows of a window,
L layers, D feature width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ..config import AudioConfig
from ..errors import InputError
from ..files.on_disk import TensorOnDisk
from .encoder import AudioEncoder, NormalizedSound, Wav2Vec2, encode_sound
from .front_end import SAMPLE_RATE_HZ, STEP_SAMPLES
from .timing import step_of_frame, whole_clips
from .wav2vec2 import aligned_positions
from .whisper import Whisper, encode_steps

STEP_REACH = 400
"""Samples that a step of wav2vec2 sees."""
WHOLE_SAMPLES = 120 * SAMPLE_RATE_HZ
"""Longest sound that wav2vec2 hears at once for Hallo and V-Express."""
CONTEXT_SAMPLES = 10 * SAMPLE_RATE_HZ
"""Of a longer one, heard on each side of a stretch and then dropped."""
ENCODERS = {
    "frame_centers": AudioEncoder,
    "before_encoder": Wav2Vec2,
    "after_encoder": Wav2Vec2,
    "encoder_steps": Whisper,
}
"""What each timing needs the encoder to be."""


@torch.no_grad()
def encode_rows(
    encoder: AudioEncoder | Wav2Vec2 | Whisper,
    waveform_N: Tensor,
    audio: AudioConfig,
    *,
    fps: float,
    num_frames: int,
    clip_frames: int,
    on_stretch: Callable[[], None] | None = None,
    into: TensorOnDisk | None = None,
) -> Tensor:
    """Encode a whole film's mono sound at 16 kHz.

    Args:
        waveform_N: any length above 0, on the encoder's device.
        num_frames: of the film.
        clip_frames: Hallo's rows go on into silence up to whole clips of this length.
        on_stretch: called before each stretch of a long sound, where it is measured and where it
            is heard; may raise to stop, and may let go of samples that lie in a file.
        into: an empty file for rows of (audio.num_layers, audio.feature_dim); None keeps them in
            memory.

    Returns:
        float32 (R, L, D) for `cut_windows`, on the encoder's device, or in the file.

    Raises:
        InputError: an encoder of another kind or size than the checkpoint was made with.

    Hallo and V-Express: up to two minutes are encoded at once, as upstream does at any length. A
    longer sound is encoded in stretches of 100 s that hear 10 s on each side, so that memory stays
    bounded; rows then know nothing of sound farther away, and the first convolution's norm, which
    is over time, is the stretch's own.
    """
    if not isinstance(encoder, ENCODERS[audio.timing]):
        raise InputError(
            f"audio encoder: {type(encoder).__name__} cannot be read the way this checkpoint "
            f"hears ({audio.timing}). Expected a {audio.encoder} model; load the one that the "
            "checkpoint's page names."
        )
    in_memory: list[Tensor] = []
    for part in _in_stretches(
        encoder,
        waveform_N,
        audio,
        fps=fps,
        num_frames=num_frames,
        clip_frames=clip_frames,
        on_stretch=on_stretch,
    ):
        if tuple(part.shape[1:]) != (audio.num_layers, audio.feature_dim):
            raise InputError(
                f"audio encoder: {part.shape[1]} layers of width {part.shape[2]}; the checkpoint "
                f"was made with {audio.num_layers} layers of width {audio.feature_dim}. Give the "
                "model that the checkpoint's page names."
            )
        if into is None:
            in_memory.append(part)
        else:
            into.append(part)
    return torch.cat(in_memory) if into is None else into.tensor()


def _in_stretches(
    encoder: AudioEncoder | Wav2Vec2 | Whisper,
    waveform_N: Tensor,
    audio: AudioConfig,
    *,
    fps: float,
    num_frames: int,
    clip_frames: int,
    on_stretch: Callable[[], None] | None,
) -> Iterator[Tensor]:
    """Yield the rows of a sound in order."""
    if audio.timing == "frame_centers":
        yield from encode_sound(
            encoder, waveform_N, fps=fps, num_frames=num_frames, on_stretch=on_stretch
        )
    elif audio.timing == "encoder_steps":
        yield encode_steps(encoder, waveform_N, on_stretch=on_stretch)
    elif audio.timing == "before_encoder":
        clips = whole_clips(waveform_N.shape[0], fps=fps, clip_frames=clip_frames)
        yield from _states(
            encoder,
            waveform_N,
            audio,
            num_zeros=clips.num_zeros,
            num_rows=clips.num_padded_frames,
            on_stretch=on_stretch,
        )
    else:
        states_TLD = torch.cat(list(_states(encoder, waveform_N, audio, on_stretch=on_stretch)))
        yield _stretched(states_TLD, audio.rows_per_frame * num_frames)


def cut_windows(rows_RLD: Tensor, frames: Tensor, *, audio: AudioConfig, fps: float) -> Tensor:
    """Cut the windows of rows around some frames of the film.

    Args:
        rows_RLD: of the whole film, from `encode_rows`.
        frames: (F,) their numbers, 0 or more, in any order.
        fps: as the rows were encoded with.

    Returns:
        (F, W, L, D) on the rows' device. Past both ends of the sound stand zeros or the edge row,
        as the checkpoint wants it. Frames past the last that has rows hold that one's window; for
        Hallo this is the last of the silence after the sound.
    """
    if audio.timing == "encoder_steps":
        first_F = torch.tensor([step_of_frame(frame, fps=fps) for frame in frames.tolist()])
    else:
        last_frame = rows_RLD.shape[0] // audio.rows_per_frame - 1
        first_F = frames.cpu().clamp(max=last_frame) * audio.rows_per_frame
    margin = audio.window_margin * audio.rows_per_frame
    index_FW = first_F[:, None] + torch.arange(-margin, audio.window - margin)
    inside_FW = index_FW.clamp(0, rows_RLD.shape[0] - 1)
    windows = rows_RLD[inside_FW.to(rows_RLD.device)]
    if audio.is_padded_by_zeros:
        windows[(index_FW != inside_FW).to(rows_RLD.device)] = 0.0
    return windows


def _states(
    encoder: Wav2Vec2,
    waveform_N: Tensor,
    audio: AudioConfig,
    *,
    num_zeros: int = 0,
    num_rows: int | None = None,
    on_stretch: Callable[[], None] | None,
) -> Iterator[Tensor]:
    """Run wav2vec2 over a sound, normalised, at once or in stretches.

    Args:
        num_zeros: samples heard behind the sound.
        num_rows: spread over the steps before projection and transformer; None: one per step.

    Yields:
        float32 (R, L, D) of all layers, or of the last where the checkpoint reads one.
    """
    sound = NormalizedSound(waveform_N, on_stretch=on_stretch)
    num_samples = max(len(sound) + num_zeros, STEP_REACH)
    num_steps = (num_samples - STEP_REACH) // STEP_SAMPLES + 1
    position_R = aligned_positions(num_steps, num_steps if num_rows is None else num_rows)
    context = CONTEXT_SAMPLES // STEP_SAMPLES
    stretch = WHOLE_SAMPLES // STEP_SAMPLES - 2 * context
    if num_samples <= WHOLE_SAMPLES:
        stretch = num_steps
    for first in range(0, num_steps, stretch):
        if on_stretch is not None:
            on_stretch()
        low = max(0, first - context)
        high = min(num_steps - 1, first + stretch - 1 + context)
        position = position_R[(position_R >= low) & (position_R <= high)]
        # The rest behind the last step is heard too: it counts in the first convolution's norm.
        end = num_samples if high == num_steps - 1 else high * STEP_SAMPLES + STEP_REACH
        states_BRLD = encoder.hidden_states(
            sound.part(low * STEP_SAMPLES, end)[None],
            None if num_rows is None else position - low,
        )
        is_kept = (position >= first) & (position < first + stretch)
        kept = is_kept.nonzero()[:, 0].to(states_BRLD.device)
        # All layers, so that a model with too many is noticed, but for who reads the last alone.
        first_layer = -1 if audio.num_layers == 1 else 0
        yield states_BRLD[0, kept, first_layer:].float()


def _stretched(states_TLD: Tensor, num_rows: int) -> Tensor:
    """Resample linearly so that rows and steps each share the sound evenly (no align_corners)."""
    columns = states_TLD.flatten(1).T[None]
    rows = nn.functional.interpolate(columns, size=num_rows, mode="linear")
    return rows[0].T.unflatten(1, states_TLD.shape[1:])
