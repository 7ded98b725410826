"""The node pack's entry for ComfyUI. The only package that may import ComfyUI."""

from comfy_api.latest import ComfyExtension, io


class EMOExtension(ComfyExtension):
    """Registers the pack's nodes: a static list, which grows as nodes land."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return []


async def comfy_entrypoint() -> ComfyExtension:
    return EMOExtension()
