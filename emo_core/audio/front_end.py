"""The demo checkpoint's own audio encoder: log-mel and dilated convolutions at 50 Hz.

It stands where EMO has a pretrained wav2vec model, and like there the outputs of several layers
together are the features. Every layer sees a bounded stretch of sound and nothing is normalised
over time, so a long file can be encoded in pieces.

Letters: N samples, T steps of 20 ms, M mel bands, C channels, L layers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

from ..config import FrontEndConfig

SAMPLE_RATE_HZ = 16000
STEP_SAMPLES = 320
MEL_HOP = 160
FFT_SIZE = 512
KERNEL = 5
LOG_FLOOR = 1e-5


class FrontEndLayer(nn.Module):
    """Norm per step, dilated convolution, GELU, linear; plus the input."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(
            width, width, KERNEL, padding=dilation * (KERNEL // 2), dilation=dilation
        )
        self.linear = nn.Linear(width, width)

    def forward(self, hidden_BTC: Tensor) -> Tensor:
        seen = self.conv(self.norm(hidden_BTC).transpose(1, 2)).transpose(1, 2)
        return hidden_BTC + self.linear(F.gelu(seen))


class FrontEnd(nn.Module):
    """Waveform at 16 kHz, zero mean and unit variance -> features of the last layers."""

    rate_hz = SAMPLE_RATE_HZ / STEP_SAMPLES
    first_center_s = 0.5 * STEP_SAMPLES / SAMPLE_RATE_HZ

    def __init__(self, config: FrontEndConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv1d(config.num_mels, config.width, 4, stride=2, padding=1)
        self.layers = nn.ModuleList([FrontEndLayer(config.width, d) for d in config.dilations])

    @property
    def context_samples(self) -> int:
        """How far, at the most, a sample reaches to either side."""
        steps = (KERNEL // 2) * sum(self.config.dilations) + 1
        return steps * STEP_SAMPLES + FFT_SIZE

    def forward(self, waveform_BN: Tensor) -> Tensor:
        """Return (B, T, L, C) with T = ceil(N / 320)."""
        padded = F.pad(waveform_BN, (0, -waveform_BN.shape[-1] % STEP_SAMPLES))
        hidden = self.stem(self.log_mel(padded)).transpose(1, 2)
        outputs = []
        for layer in self.layers:
            hidden = layer(hidden)
            outputs.append(F.layer_norm(hidden, hidden.shape[-1:]))
        return torch.stack(outputs[-self.config.num_returned_layers :], dim=2)

    def log_mel(self, waveform_BN: Tensor) -> Tensor:
        """Return natural-log mel energies (B, M, 2 T), roughly -1..1 for ordinary speech."""
        window = torch.hann_window(FFT_SIZE, device=waveform_BN.device)
        spectrum = torch.stft(
            waveform_BN.float(),
            FFT_SIZE,
            hop_length=MEL_HOP,
            window=window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        bands = torchaudio.functional.melscale_fbanks(
            FFT_SIZE // 2 + 1,
            f_min=40.0,
            f_max=7600.0,
            n_mels=self.config.num_mels,
            sample_rate=SAMPLE_RATE_HZ,
        ).to(waveform_BN.device)
        power = spectrum.abs().square().transpose(1, 2) @ bands
        # One step more than two per 20 ms comes of the centred windows; it is left out.
        log = (power[:, :-1] + LOG_FLOOR).log().transpose(1, 2)
        return (log / 5.0).to(self.stem.weight.dtype)
