"""Checkpoint file -> model patchers. The only place where networks meet ComfyUI's memory manager.

Letters: N samples or images, T steps of 20 ms, L layers, D feature width, C channels, h and w rows
and columns of latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import torch
from comfy.audio_encoders.audio_encoders import load_audio_encoder_from_sd
from comfy.audio_encoders.wav2vec2 import Wav2Vec2Model
from comfy.model_patcher import CoreModelPatcher, ModelPatcher
from torch import Tensor, nn

from ..emo_core.audio.front_end import SAMPLE_RATE_HZ, STEP_SAMPLES, FrontEnd
from ..emo_core.checkpoints.detect import detect_family
from ..emo_core.checkpoints.emo import check_fits, read_config, split_parts
from ..emo_core.checkpoints.read import TensorFile, read_tensors
from ..emo_core.config import ModelConfig
from ..emo_core.errors import InputError
from ..emo_core.models.backbone import Backbone
from ..emo_core.models.reference import ReferenceNet
from ..emo_core.models.unet import Features
from .network import EMOSupported, bound_layers
from .types import AudioEncoderWire, ReferenceNetWire

FRONT_END = "emo_front_end"
"""Attachment of a MODEL that holds the checkpoint's own audio encoder, an `AudioEncoderWire`."""


@dataclass(frozen=True)
class LoadedEMO:
    """A checkpoint's networks in patchers."""

    model: ModelPatcher
    reference_net: ReferenceNetWire


def load_emo(path: Path, *, dtype: torch.dtype | None) -> LoadedEMO:
    """Load a checkpoint.

    Args:
        dtype: of the weights; None lets ComfyUI choose for the device.

    Raises:
        InputError: not a checkpoint of ours, or damaged.
    """
    file = _read(path)
    config = read_config(file)
    reference_net = _reference_net(file, config, dtype=dtype)
    return LoadedEMO(
        model=_model(file, config, dtype=dtype),
        reference_net=ReferenceNetWire(patcher=reference_net, config=config),
    )


def load_model(
    path: Path, dtype: torch.dtype | None, disable_dynamic: bool = False
) -> ModelPatcher:
    """Build the MODEL again; what ComfyUI calls to get a patcher of another kind."""
    file = _read(path)
    return _model(file, read_config(file), dtype=dtype, is_dynamic_refused=disable_dynamic)


def load_wav2vec2(path: Path) -> AudioEncoderWire:
    """Load a wav2vec2 file of `models/audio_encoders` by ComfyUI's own implementation."""
    state = comfy.utils.load_torch_file(str(path), safe_load=True)
    try:
        loaded = load_audio_encoder_from_sd(state)
    except RuntimeError as error:
        raise InputError(
            f"{path}: not an audio encoder that ComfyUI knows ({error}). Give a wav2vec2 model "
            "(base or large) as one safetensors file."
        ) from error
    if not isinstance(loaded.model, Wav2Vec2Model):
        raise InputError(
            f"{path}: holds {type(loaded.model).__name__}; expected a wav2vec2 model. Give the one "
            "that the checkpoint's page names."
        )
    encoder = NativeWav2Vec2(loaded.model)
    return AudioEncoderWire(patcher=loaded.patcher, encoder=encoder, name=path.name)


def read_reference(net: ReferenceNetWire, latents_NChw: Tensor) -> Features:
    """Run the ReferenceNet on clean latents in the VAE's scale.

    Returns:
        Features on the patcher's load device.
    """
    patcher = net.patcher
    image = latents_NChw.shape[-2] * latents_NChw.shape[-1] * latents_NChw.shape[0]
    width = net.config.reference_net.unet.block_out_channels[0]
    # As for the backbone, whose estimate in ComfyUI's terms is 0.01 MiB per latent pixel and byte.
    memory = image * 2 * 0.01 * (width / 320) * 2**20
    comfy.model_management.load_models_gpu([patcher], memory_required=memory)
    dtype = patcher.model.compute_dtype
    latents = latents_NChw.to(patcher.load_device, dtype) * net.config.latent_scale
    return patcher.model(latents)


class NativeWav2Vec2:
    """ComfyUI's wav2vec2 as an `AudioEncoder` of the core."""

    rate_hz = SAMPLE_RATE_HZ / STEP_SAMPLES
    first_center_s = 200.0 / SAMPLE_RATE_HZ

    def __init__(self, model: Wav2Vec2Model) -> None:
        self.model = model

    def __call__(self, waveform_BN: Tensor) -> Tensor:
        """Return (B, T, L, D) without the embedding before the first layer."""
        # A step needs 400 samples; padding by the rest gives one step per 320 samples.
        padded = nn.functional.pad(waveform_BN, (0, 80 - waveform_BN.shape[-1] % 320))
        _, layers = self.model(padded[:, None])
        return torch.stack(list(layers)[1:], dim=2)


def _read(path: Path) -> TensorFile:
    file = read_tensors(path)
    family = detect_family(file)
    if family != "emo":
        raise InputError(
            f"{path}: is of family {family}; expected an EMO model. Load a VAE with 'Load VAE'."
        )
    return file


def _model(
    file: TensorFile,
    config: ModelConfig,
    *,
    dtype: torch.dtype | None,
    is_dynamic_refused: bool = False,
) -> ModelPatcher:
    management = comfy.model_management
    state = split_parts(file).get("backbone", {})
    load_device = management.get_torch_device()
    supported = EMOSupported(config)
    if dtype is None:
        dtype = management.unet_dtype(
            model_params=comfy.utils.calculate_parameters(state),
            weight_dtype=comfy.utils.weight_dtype(state),
            supported_dtypes=list(supported.supported_inference_dtypes),
        )
    cast = management.unet_manual_cast(dtype, load_device, supported.supported_inference_dtypes)
    supported.set_inference_dtype(dtype, cast, device=load_device)
    model = supported.get_model(state)
    # Under dynamic VRAM the model's own layers have no weights yet: a plain twin is asked.
    with torch.device("meta"):
        check_fits(Backbone(config.backbone), state, name=f"{file.path}: backbone")
    patcher_class = ModelPatcher if is_dynamic_refused else CoreModelPatcher
    patcher = patcher_class(
        model, load_device=load_device, offload_device=management.unet_offload_device()
    )
    if not patcher.is_dynamic():
        state = {key: value.to(dtype) for key, value in state.items()}
    model.load_model_weights(state, assign=patcher.is_dynamic())
    patcher.cached_patcher_init = (load_model, (file.path, dtype))
    if config.front_end is not None:
        patcher.set_attachments(FRONT_END, _front_end(file, config))
    return patcher


def _reference_net(
    file: TensorFile, config: ModelConfig, *, dtype: torch.dtype | None
) -> ModelPatcher:
    management = comfy.model_management
    state = split_parts(file).get("reference_net", {})
    load_device = management.get_torch_device()
    offload_device = management.unet_offload_device()
    if dtype is None:
        dtype = management.unet_dtype(
            model_params=comfy.utils.calculate_parameters(state),
            supported_dtypes=[torch.float16, torch.bfloat16, torch.float32],
        )
    layers = bound_layers(comfy.ops.manual_cast, dtype=dtype, device=offload_device)
    network = ReferenceNet(config.reference_net, ops=layers).requires_grad_(False).eval()
    # None means that the weights' own type is computed in.
    network.compute_dtype = management.unet_manual_cast(dtype, load_device) or dtype
    with torch.device("meta"):
        twin = ReferenceNet(config.reference_net)
    check_fits(twin, state, name=f"{file.path}: reference_net")
    management.archive_model_dtypes(network)
    patcher = CoreModelPatcher(network, load_device=load_device, offload_device=offload_device)
    if not patcher.is_dynamic():
        state = {key: value.to(dtype) for key, value in state.items()}
    network.load_state_dict(state, assign=patcher.is_dynamic())
    return patcher


def _front_end(file: TensorFile, config: ModelConfig) -> AudioEncoderWire:
    management = comfy.model_management
    state = split_parts(file).get("front_end", {})
    network = FrontEnd(config.front_end).requires_grad_(False).eval()
    check_fits(network, state, name=f"{file.path}: front_end")
    network.load_state_dict(state)
    patcher = ModelPatcher(
        network,
        load_device=management.text_encoder_device(),
        offload_device=management.text_encoder_offload_device(),
    )
    return AudioEncoderWire(patcher=patcher, encoder=network, name="the checkpoint's own")
