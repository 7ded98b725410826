"""Checkpoint file -> model patchers. The only place where networks meet ComfyUI's memory manager.

Letters: C channels, h and w rows and columns of latents, E width of an identity embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import torch
from comfy.model_patcher import CoreModelPatcher, ModelPatcher
from torch import Tensor, nn

from ..emo_core.audio.front_end import FrontEnd
from ..emo_core.audio.load import load_audio_encoder
from ..emo_core.checkpoints.checkpoint import Checkpoint
from ..emo_core.checkpoints.emo import check_fits
from ..emo_core.checkpoints.families import open_checkpoint
from ..emo_core.models.backbone import Backbone
from ..emo_core.models.reference import MotionReading, ReferenceNet, ReferenceReading
from .network import EMOSupported, bound_layers
from .types import AudioEncoderWire, Reference, ReferenceNetWire
from .windows import add_windows

FRONT_END = "emo_front_end"
"""Attachment of a MODEL that holds the checkpoint's own audio encoder, an `AudioEncoderWire`."""


@dataclass(frozen=True)
class LoadedEMO:
    """A checkpoint's networks in patchers."""

    model: ModelPatcher
    reference_net: ReferenceNetWire


def load_emo(path: Path, *, dtype: torch.dtype | None) -> LoadedEMO:
    """Load a checkpoint of any family.

    Args:
        dtype: of the weights; None lets ComfyUI choose for the device.

    Raises:
        InputError: not a checkpoint that can be loaded, damaged, or files of it are missing.
    """
    checkpoint = open_checkpoint(path)
    reference_net = _reference_net(checkpoint, dtype=dtype)
    return LoadedEMO(
        model=_model(checkpoint, dtype=dtype),
        reference_net=ReferenceNetWire(
            patcher=reference_net,
            config=checkpoint.config,
            path=checkpoint.path,
            weight_dtype=dtype,
        ),
    )


def load_model(
    path: Path, dtype: torch.dtype | None, disable_dynamic: bool = False
) -> ModelPatcher:
    """Build the MODEL again; what ComfyUI calls to get a patcher of another kind."""
    return _model(open_checkpoint(path), dtype=dtype, is_dynamic_refused=disable_dynamic)


def load_encoder(path: Path) -> AudioEncoderWire:
    """Load a wav2vec2 or Whisper model, in float32: families differ in the last digits heard."""
    encoder = load_audio_encoder(path)
    patcher = ModelPatcher(
        encoder.requires_grad_(False),
        load_device=comfy.model_management.text_encoder_device(),
        offload_device=comfy.model_management.text_encoder_offload_device(),
    )
    return AudioEncoderWire(patcher=patcher, encoder=encoder, name=path.name)


def read_reference(
    net: ReferenceNetWire, latents_1Chw: Tensor, *, embedding_E: Tensor | None = None
) -> ReferenceReading:
    """Read a portrait.

    Args:
        latents_1Chw: clean, in the VAE's scale.
        embedding_E: of the face, where the checkpoint knows identities.

    Returns:
        On ComfyUI's device for what is handed between nodes.
    """
    latents = _loaded(net, latents_1Chw) * net.config.latent_scale
    reading = net.patcher.model.read_reference(latents, embedding_E=embedding_E)
    place = comfy.model_management.intermediate_device()
    identity = reading.identity_2TD
    return ReferenceReading(
        features={name: value.to(place) for name, value in reading.features.items()},
        latents_1CHW=reading.latents_1CHW.to(place),
        identity_2TD=None if identity is None else identity.to(place),
    )


def read_motion(reference: Reference, latents_MChw: Tensor) -> MotionReading:
    """Read the frames before a clip.

    Args:
        latents_MChw: clean, as the networks see them.

    Returns:
        On the patcher's load device.
    """
    latents = _loaded(reference.net, latents_MChw)
    identity = reference.reading.identity_2TD
    return reference.net.patcher.model.read_motion(
        latents, identity_2TD=None if identity is None else identity.to(latents)
    )


def _loaded(net: ReferenceNetWire, latents_NChw: Tensor) -> Tensor:
    """Have the ReferenceNet loaded; return the latents where and as it computes."""
    patcher = net.patcher
    image = latents_NChw.shape[-2] * latents_NChw.shape[-1] * latents_NChw.shape[0]
    width = net.config.reference_net.unet.block_out_channels[0]
    # As for the backbone, whose estimate in ComfyUI's terms is 0.01 MiB per latent pixel and byte.
    memory = image * 2 * 0.01 * (width / 320) * 2**20
    comfy.model_management.load_models_gpu([patcher], memory_required=memory)
    return latents_NChw.to(patcher.load_device, patcher.model.compute_dtype)


def _model(
    checkpoint: Checkpoint, *, dtype: torch.dtype | None, is_dynamic_refused: bool = False
) -> ModelPatcher:
    management = comfy.model_management
    config, views = checkpoint.config, checkpoint.views("backbone")
    load_device = management.get_torch_device()
    supported = EMOSupported(config)
    if dtype is None:
        dtype = management.unet_dtype(
            model_params=comfy.utils.calculate_parameters(views),
            weight_dtype=comfy.utils.weight_dtype(views),
            supported_dtypes=list(supported.supported_inference_dtypes),
        )
    cast = management.unet_manual_cast(dtype, load_device, supported.supported_inference_dtypes)
    supported.set_inference_dtype(dtype, cast, device=load_device)
    # Under dynamic VRAM the model's own layers have no weights yet: a plain twin is asked.
    with torch.device("meta"):
        check_fits(Backbone(config.backbone), views, name=f"{checkpoint.path}: backbone")
    model = supported.get_model(views)
    patcher_class = ModelPatcher if is_dynamic_refused else CoreModelPatcher
    patcher = patcher_class(
        model, load_device=load_device, offload_device=management.unet_offload_device()
    )
    _fill(model.load_model_weights, checkpoint, "backbone", patcher, dtype=dtype)
    patcher.cached_patcher_init = (load_model, (checkpoint.path, dtype))
    add_windows(patcher, config.sampling)
    if config.front_end is not None:
        patcher.set_attachments(FRONT_END, _front_end(checkpoint))
    return patcher


def _reference_net(checkpoint: Checkpoint, *, dtype: torch.dtype | None) -> ModelPatcher:
    management = comfy.model_management
    config, views = checkpoint.config.reference_net, checkpoint.views("reference_net")
    load_device = management.get_torch_device()
    offload_device = management.unet_offload_device()
    if dtype is None:
        dtype = management.unet_dtype(
            model_params=comfy.utils.calculate_parameters(views),
            supported_dtypes=[torch.float16, torch.bfloat16, torch.float32],
        )
    layers = bound_layers(comfy.ops.manual_cast, dtype=dtype, device=offload_device)
    with torch.device("meta"):
        twin = ReferenceNet(config)
    check_fits(twin, views, name=f"{checkpoint.path}: reference_net")
    network = ReferenceNet(config, ops=layers).requires_grad_(False).eval()
    # None means that the weights' own type is computed in.
    network.compute_dtype = management.unet_manual_cast(dtype, load_device) or dtype
    management.archive_model_dtypes(network)
    patcher = CoreModelPatcher(network, load_device=load_device, offload_device=offload_device)
    _fill(network.load_state_dict, checkpoint, "reference_net", patcher, dtype=dtype)
    return patcher


def _fill(
    load: Callable,
    checkpoint: Checkpoint,
    network: str,
    patcher: ModelPatcher,
    *,
    dtype: torch.dtype,
) -> None:
    """Hand a network its weights: mapped where they are streamed from the file, else converted."""
    views = checkpoint.views(network)
    if patcher.is_dynamic():
        load(views, assign=True)
        return
    state = checkpoint.read(network, dtype=dtype)
    if dtype.itemsize == 1:
        # Only ComfyUI's layers know what to do with numbers of one byte.
        for name in _bare_parameters(patcher.model):
            state[name] = views[name].to(torch.float16)
    load(state, assign=True)


def _bare_parameters(model: nn.Module) -> set[str]:
    """Names, inside the network, of what no layer of ComfyUI's holds."""
    network = getattr(model, "diffusion_model", model)
    return {
        f"{name}.{parameter}".removeprefix(".")
        for name, module in network.named_modules()
        if not hasattr(module, "comfy_cast_weights")
        for parameter, _ in module.named_parameters(recurse=False)
    }


def _front_end(checkpoint: Checkpoint) -> AudioEncoderWire:
    management = comfy.model_management
    network = FrontEnd(checkpoint.config.front_end).requires_grad_(False).eval()
    state = checkpoint.read("front_end", dtype=torch.float32)
    check_fits(network, state, name=f"{checkpoint.path}: front_end")
    network.load_state_dict(state)
    patcher = ModelPatcher(
        network,
        load_device=management.text_encoder_device(),
        offload_device=management.text_encoder_offload_device(),
    )
    return AudioEncoderWire(patcher=patcher, encoder=network, name="the checkpoint's own")
