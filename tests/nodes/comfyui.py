"""Where a ComfyUI is, how to import it into the test process, and the pack as ComfyUI loads it."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
PACK = "emo_pack"
"""Name of the loaded pack, which ComfyUI derives from its folder."""


def find_comfyui() -> Path | None:
    """COMFYUI_PATH, else comfy-cli's default, else the ComfyUI this pack is installed in."""
    places = [Path.home() / "comfy" / "ComfyUI", ROOT.parents[1]]
    if "COMFYUI_PATH" in os.environ:
        places = [Path(os.environ["COMFYUI_PATH"])]
    return next((place for place in places if (place / "comfy" / "sd.py").is_file()), None)


def load_pack(comfyui: Path) -> ModuleType:
    """Import ComfyUI for the CPU and the pack inside it; both stay for the rest of the process."""
    if PACK in sys.modules:
        return sys.modules[PACK]
    sys.path.insert(0, str(comfyui))
    from comfy.cli_args import args

    args.cpu = True
    spec = importlib.util.spec_from_file_location(
        PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    pack = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = pack
    spec.loader.exec_module(pack)
    importlib.import_module(f"{PACK}.nodes.paths").register_folders()
    return pack
