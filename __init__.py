"""EMO: a portrait and a voice become a talking-head film."""

if __package__:  # pytest imports this file outside any package; ComfyUI never does
    from .nodes import comfy_entrypoint  # noqa: F401

WEB_DIRECTORY = "./js"
