"""The nodes' own classes called in order, as a graph would: what tests of sampling start from."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from conftest import SAMPLE_RATE_HZ, ToyFiles, voice_samples

from emo_core.video.images import read_image


@dataclass
class Graph:
    """A loaded toy checkpoint with an encoded portrait and voice."""

    pack: ModuleType
    model: Any
    reference_net: Any
    vae: Any
    reference: Any
    audio: Any

    def node(self, name: str) -> Any:
        """The class of a node by its id without the prefix."""
        return next(n for n in self.pack.NODES if n.GET_SCHEMA().node_id == f"EMO_{name}")

    def film_inputs(self) -> dict[str, Any]:
        """What every sampling node needs."""
        return {
            "model": self.model,
            "reference": self.reference,
            "emo_audio": self.audio,
            "reference_weight": 1.0,
            "audio_weight": 1.0,
            "speed_weight": 1.0,
            "keep_clips": False,
        }

    def film(
        self, *, model: Any = None, steps: int = 3, seed: int = 5, **inputs: Any
    ) -> torch.Tensor:
        """Latents of the film by guider, DDIM and ComfyUI's own noise."""
        model = model or self.model
        guider, latent = self.guider(model=model, **inputs)
        sampler, sigmas = self.node("DDIM").execute(model, steps).args
        return sample(guider, latent, sampler, sigmas, seed=seed)

    def guider(self, *, model: Any = None, guidance: float = 2.0, **inputs: Any) -> tuple:
        inputs = self.film_inputs() | ({} if model is None else {"model": model}) | inputs
        return self.node("Guider").execute(guidance=guidance, **inputs).args

    def conditioning(self, *, first_frame: int = 0, num_frames: int = 0, **inputs: Any) -> tuple:
        inputs = self.film_inputs() | inputs
        del inputs["keep_clips"]
        made = self.node("Conditioning").execute(first_frame, num_frames, **inputs)
        return made.args


def sample(guider: Any, latent: dict, sampler: Any, sigmas: torch.Tensor, *, seed: int = 5, **more):
    """What SamplerCustomAdvanced does."""
    import comfy.sample

    samples = latent["samples"]
    noise = comfy.sample.prepare_noise(samples, seed)
    with torch.inference_mode():
        return guider.sample(noise, samples, sampler, sigmas, seed=seed, disable_pbar=True, **more)


def sound(seconds: float) -> dict:
    return {"waveform": voice_samples(seconds)[None, None], "sample_rate": SAMPLE_RATE_HZ}


def make_graph(
    pack: ModuleType, toy: ToyFiles, *, dtype: str = "fp32", seconds: float = 0.6
) -> Graph:
    import comfy.sd
    import comfy.utils
    from emo_pack.nodes.loaders import DTYPES
    from emo_pack.nodes.loading import load_emo

    with torch.inference_mode():
        loaded = load_emo(toy.model, dtype=DTYPES[dtype])
        state, metadata = comfy.utils.load_torch_file(str(toy.vae), return_metadata=True)
        vae = comfy.sd.VAE(sd=state, metadata=metadata)
        graph = Graph(pack, loaded.model, loaded.reference_net, vae, None, None)
        portrait = read_image(toy.portrait)[None]
        encode = graph.node("ReferenceEncode").execute
        graph.reference = encode(loaded.reference_net, vae, portrait, 0, 0, "center").args[0]
        graph.audio = graph.node("AudioEncode").execute(loaded.model, sound(seconds), 0.0).args[0]
    return graph
