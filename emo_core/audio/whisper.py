"""Whisper's encoder as EchoMimic hears through it: every level's states, 20 ms apart.

The levels are what enters the first block (convolutions and positions) and what leaves each block;
the norm after the last block is not run. The sound goes in as it is, not normalised, since the
level of its spectrogram is: against the loudest moment of the whole file.

Source: EchoMimic, `src/models/whisper`: `whisper/audio.py` (log_mel_spectrogram),
`whisper/transcribe.py` (chunks), `whisper/model.py` (AudioEncoder), `audio2feature.py`
(audio2feat). Upstream rounds the sound to 16 bits first; a 16-bit file at 16 kHz is the same.

Letters: B chunks, N samples, M mel bands, S spectrogram steps of 10 ms, T steps of 20 ms,
L levels, D width.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
import torchaudio
from torch import Tensor, nn

from ..errors import InputError
from ..files.read import read_tensors
from .front_end import MEL_HOP, SAMPLE_RATE_HZ
from .weights import fill

if TYPE_CHECKING:  # Importing transformers takes seconds, and other encoders need none of it.
    from transformers import WhisperConfig

FFT_SIZE = 400
CHUNK_STEPS = 3000
"""Spectrogram steps that go through the encoder at once: 30 s."""
HEAD_DIM = 64
DEAD_KEYS = (
    "decoder.",
    "proj_out.",
    "encoder.layer_norm.",
    "encoder.ln_post.",
)
"""Writing down words, and the norm after the last block."""
OPENAI_NAMES = (
    ("encoder.positional_embedding", "encoder.embed_positions.weight"),
    ("encoder.blocks.", "encoder.layers."),
    (".attn.query.", ".self_attn.q_proj."),
    (".attn.key.", ".self_attn.k_proj."),
    (".attn.value.", ".self_attn.v_proj."),
    (".attn.out.", ".self_attn.out_proj."),
    (".attn_ln.", ".self_attn_layer_norm."),
    (".mlp.0.", ".fc1."),
    (".mlp.2.", ".fc2."),
    (".mlp_ln.", ".final_layer_norm."),
)


@runtime_checkable
class Whisper(Protocol):
    """A Whisper encoder that hands out all its levels."""

    num_mels: int

    def mel_states(self, log_mel_BMS: Tensor) -> Tensor:
        """Return (B, T, L, D) of chunks of `CHUNK_STEPS` steps; T is half of that."""
        ...


class WhisperEncoder(nn.Module):
    """transformers' Whisper encoder with the final norm left out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.num_mels = model.config.num_mel_bins

    @classmethod
    def load(cls, path: Path) -> WhisperEncoder:
        """Load OpenAI's pickle, or Hugging Face's safetensors or the folder that holds it.

        Raises:
            InputError: not a Whisper model, or keys missing or left over.
        """
        from transformers.models.whisper.modeling_whisper import WhisperEncoder as Network

        path = path / "model.safetensors" if path.is_dir() else path
        tensors = _plain_names(read_tensors(path).tensors)
        config = _infer_config(tensors, name=str(path))
        with torch.device("meta"):
            model = Network(config)
        model.layer_norm = nn.Identity()
        fill(model, tensors, name=str(path))
        return cls(model.eval())

    def mel_states(self, log_mel_BMS: Tensor) -> Tensor:
        """See `Whisper`."""
        dtype = next(self.model.parameters()).dtype
        output = self.model(log_mel_BMS.to(dtype), output_hidden_states=True)
        return torch.stack(output.hidden_states, dim=2)


@torch.no_grad()
def encode_steps(
    encoder: Whisper, waveform_N: Tensor, *, on_stretch: Callable[[], None] | None = None
) -> Tensor:
    """Encode mono sound at 16 kHz, as it is.

    Args:
        waveform_N: any length above 0; below one step of 320 samples it is filled up by silence.
        on_stretch: called before each chunk of 30 s; may raise to stop.

    Returns:
        float32 (T, L, D) with T = N // 320. Chunks are encoded each for itself, as upstream does.
    """
    missing = max(0, FFT_SIZE - waveform_N.shape[0])
    log_mel_MS = log_mel(nn.functional.pad(waveform_N, (0, missing)), num_mels=encoder.num_mels)
    parts = []
    for chunk_MS in log_mel_MS.split(CHUNK_STEPS, dim=1):
        if on_stretch is not None:
            on_stretch()
        num_steps = chunk_MS.shape[1]
        # On this scale zeros are no silence, but it is what upstream fills a chunk up with.
        chunk_MS = nn.functional.pad(chunk_MS, (0, CHUNK_STEPS - num_steps))
        parts.append(encoder.mel_states(chunk_MS[None])[0, : num_steps // 2].float())
    return torch.cat(parts)


def log_mel(waveform_N: Tensor, *, num_mels: int) -> Tensor:
    """Return the log-mel spectrogram (M, N // 160) of a whole file, N at least 400.

    In Slaney's bands, (log10(power) + 4) / 4; what is more than 80 dB below the file's loudest
    moment is raised to that.
    """
    device = waveform_N.device
    bands_MK = torchaudio.functional.melscale_fbanks(
        FFT_SIZE // 2 + 1,
        f_min=0.0,
        f_max=SAMPLE_RATE_HZ / 2,
        n_mels=num_mels,
        sample_rate=SAMPLE_RATE_HZ,
        norm="slaney",
        mel_scale="slaney",
    ).T.to(device)
    window = torch.hann_window(FFT_SIZE, device=device)
    padding = (FFT_SIZE // 2, FFT_SIZE // 2)
    padded = nn.functional.pad(waveform_N.float()[None], padding, mode="reflect")[0]
    num_steps = waveform_N.shape[0] // MEL_HOP
    parts = []
    # In pieces, so that only the bands of a long file stand in memory, not its spectrum.
    for first in range(0, num_steps, CHUNK_STEPS):
        last = min(first + CHUNK_STEPS, num_steps)
        spectrum_KS = torch.stft(
            padded[first * MEL_HOP : (last - 1) * MEL_HOP + FFT_SIZE],
            FFT_SIZE,
            hop_length=MEL_HOP,
            window=window,
            center=False,
            return_complex=True,
        )
        parts.append(bands_MK @ spectrum_KS.abs().square())
    log_MS = torch.cat(parts, dim=1).clamp(min=1e-10).log10()
    return (log_MS.clamp(min=log_MS.max() - 8.0) + 4.0) / 4.0


def _plain_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors under transformers' names, without any prefix."""
    plain = {}
    for key, value in tensors.items():
        key = key.removeprefix("model.")
        if key.startswith(DEAD_KEYS):
            continue
        for old, new in OPENAI_NAMES:
            key = key.replace(old, new)
        plain[key.removeprefix("encoder.")] = value
    return plain


def _infer_config(tensors: dict[str, Tensor], *, name: str) -> WhisperConfig:
    from transformers import WhisperConfig

    numbers = (re.match(r"layers\.(\d+)\.", key) for key in tensors)
    try:
        width, num_mels = tensors["conv1.weight"].shape[:2]
        num_positions = tensors["embed_positions.weight"].shape[0]
        ffn_dim = tensors["layers.0.fc1.weight"].shape[0]
    except KeyError as error:
        raise InputError(
            f"{name}: no {error.args[0]} among the tensors of its encoder, so this is not a "
            "Whisper model. Expected OpenAI's file or a safetensors file under Hugging Face's "
            "names; give the one that the checkpoint's page names (EchoMimic: whisper_tiny.pt)."
        ) from error
    if 2 * num_positions != CHUNK_STEPS or width % HEAD_DIM:
        raise InputError(
            f"{name}: a Whisper encoder of {num_positions} positions and width {width}. Expected "
            f"{CHUNK_STEPS // 2} positions and a width of whole heads of {HEAD_DIM}; give one of "
            "the published models."
        )
    return WhisperConfig(
        num_mel_bins=num_mels,
        d_model=width,
        encoder_layers=len({match.group(1) for match in numbers if match}),
        encoder_attention_heads=width // HEAD_DIM,
        encoder_ffn_dim=ffn_dim,
        max_source_positions=num_positions,
    )
