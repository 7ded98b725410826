"""The node pack's entry for ComfyUI. The only package that may import ComfyUI."""

from comfy_api.latest import ComfyExtension, io
from server import PromptServer

from .clips import ClipsBegin, ClipsEnd, ClipsRun
from .conditioning import Conditioning
from .crop import CropFace
from .encoding import AudioEncode, ReferenceEncode
from .face import AudioWeights, FaceRegionNode, KeyPoints
from .loaders import DemoInputs, LoadAudioEncoder, LoadModel
from .paths import register_folders
from .preflight import Preflight
from .retaking import Retake
from .sampling import DDIM, Guider, Sampler
from .speed import HeadSpeed
from .stitching import ClipStitcher, mark_connected_images
from .voice import VoiceGate

NODES: list[type[io.ComfyNode]] = [
    LoadModel,
    LoadAudioEncoder,
    DemoInputs,
    ReferenceEncode,
    AudioEncode,
    FaceRegionNode,
    HeadSpeed,
    Guider,
    Conditioning,
    Sampler,
    DDIM,
    ClipStitcher,
    CropFace,
    KeyPoints,
    AudioWeights,
    VoiceGate,
    Retake,
    Preflight,
    ClipsBegin,
    ClipsEnd,
    ClipsRun,
]


class EMOExtension(ComfyExtension):
    """Registers the pack's nodes."""

    async def on_load(self) -> None:
        register_folders()
        PromptServer.instance.add_on_prompt_handler(mark_connected_images)

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> ComfyExtension:
    return EMOExtension()
