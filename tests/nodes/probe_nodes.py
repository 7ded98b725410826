"""A node pack for tests: what other people's nodes may do in a part that runs clip by clip."""

import asyncio
import gc
import resource
import time

import torch
from comfy_execution.graph_utils import ExecutionBlocker, GraphBuilder

CATEGORY = "probes"


class Fail:
    """Fails at pieces of so many frames."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        how = ["value", "memory", "block", "smaller", "fewer"]
        return {"required": {"images": ("IMAGE",), "at": ("INT", {}), "how": (how,)}}

    def run(self, images: torch.Tensor, at: int, how: str) -> tuple:
        if len(images) != at:
            return (images,)
        if how == "value":
            raise ValueError("this face has three eyes")
        if how == "memory":
            raise torch.OutOfMemoryError("Allocation on device")
        if how == "block":
            return (ExecutionBlocker(None),)
        return (images[:, ::2] if how == "smaller" else images[1:],)


class CountCalls:
    """Blackens as many frames as this very instance has been called times before."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "run", ("IMAGE",)

    def __init__(self) -> None:
        self.num_calls = 0

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"images": ("IMAGE",)}}

    def run(self, images: torch.Tensor) -> tuple:
        images = images.clone()
        images[: self.num_calls] = 0.0
        self.num_calls += 1
        return (images,)


class Measure:
    """Says at every fourth call how many bytes the process held at most, and its tensors now."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "run", ("IMAGE",)

    def __init__(self) -> None:
        self.num_calls = 0

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"images": ("IMAGE",)}}

    def run(self, images: torch.Tensor) -> dict:
        self.num_calls += 1
        if self.num_calls % 4:
            return {"ui": {"peak": [], "tensors": []}, "result": (images,)}
        storages = {
            item.untyped_storage().data_ptr(): item.untyped_storage().nbytes()
            for item in gc.get_objects()
            if type(item) is torch.Tensor and item.device.type == "cpu"
        }
        peak_kB = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        shown = {"peak": [peak_kB * 1024], "tensors": [sum(storages.values())]}
        return {"ui": shown, "result": (images,)}


class Slow:
    """Waits without looking whether it was interrupted."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"images": ("IMAGE",), "seconds": ("FLOAT", {})}}

    def run(self, images: torch.Tensor, seconds: float) -> tuple:
        time.sleep(seconds)
        return (images,)


class AsyncInvert:
    """Inverts the frames while others may run."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"images": ("IMAGE",)}}

    async def run(self, images: torch.Tensor) -> tuple:
        await asyncio.sleep(0.01)
        return (1.0 - images,)


class ExpandInvert:
    """Becomes a node that may fail and core's that inverts."""

    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"images": ("IMAGE",), "at": ("INT", {})}}

    def run(self, images: torch.Tensor, at: int) -> dict:
        graph = GraphBuilder()
        checked = graph.node("ProbeFail", images=images, at=at, how="value")
        inverted = graph.node("ImageInvert", image=checked.out(0))
        return {"result": (inverted.out(0),), "expand": graph.finalize()}


class Paid:
    """Would send the frames to somebody who takes money for it."""

    API_NODE = True
    CATEGORY, FUNCTION, RETURN_TYPES = CATEGORY, "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"images": ("IMAGE",)}}

    def run(self, images: torch.Tensor) -> tuple:
        return (images,)


NODE_CLASS_MAPPINGS = {
    "ProbeFail": Fail,
    "ProbeCountCalls": CountCalls,
    "ProbeMeasure": Measure,
    "ProbeSlow": Slow,
    "ProbeAsyncInvert": AsyncInvert,
    "ProbeExpandInvert": ExpandInvert,
    "ProbePaid": Paid,
}
