"""What an exported checkpoint brings beside its weights: preview colours and a LoRA."""

import pytest
import torch
from tiny import tiny_networks

from emo_core.models.vae import VAE
from emo_core.training.latents import LatentClips
from emo_core.training.lora import amplifying_lora
from emo_core.training.preview import fit_preview


def latent_clips(latents: torch.Tensor) -> LatentClips:
    nothing = torch.zeros(len(latents), 1)
    return LatentClips(latents, *[nothing] * 7, torch.tensor(1.0))


class ColourVAE(VAE):
    """Decodes latents to flat 8x8 tiles by a known linear map."""

    factors = torch.tensor([[0.2, 0.0, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 0.1], [0.1, 0.1, 0.1]])
    bias = torch.tensor([0.1, -0.2, 0.3])

    def decode(self, latents_NChw: torch.Tensor, *, chunk: int = 16) -> torch.Tensor:
        colours = latents_NChw.movedim(1, -1) @ self.factors + self.bias
        return (colours * 0.5 + 0.5).repeat_interleave(8, 1).repeat_interleave(8, 2)


def test_a_linear_preview_is_found_exactly():
    torch.manual_seed(0)
    preview = fit_preview(latent_clips(torch.randn(20, 1, 4, 6, 6)), ColourVAE(scale=1.0))
    assert torch.tensor(preview.factors) == pytest.approx(ColourVAE.factors, abs=1e-4)
    assert torch.tensor(preview.bias) == pytest.approx(ColourVAE.bias, abs=1e-4)


def test_a_full_rank_lora_is_the_gain_times_the_weight():
    backbone = tiny_networks().backbone
    tensors = amplifying_lora(backbone, gain=0.5, rank=64)
    state = backbone.state_dict()
    keys = [key for key in state if key.endswith("attn2.to_v.weight")]
    assert len(tensors) == 3 * len(keys) > 0
    for key in keys:
        name = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
        up, down = tensors[f"{name}.lora_up.weight"], tensors[f"{name}.lora_down.weight"]
        scale = tensors[f"{name}.alpha"] / len(down)
        assert float(scale) == 1.0
        assert torch.allclose(up.float() @ down.float(), 0.5 * state[key], atol=2e-3)
