"""Importing the pack is cheap: nothing heavy comes along that ComfyUI has not loaded itself."""

import subprocess
import sys

from comfyui import ROOT
from conftest import COMFYUI

SCRIPT = """
import sys
sys.path.insert(0, {comfyui!r})
from comfy.cli_args import args
args.cpu = True
import comfy.sd, execution, folder_paths, latent_preview, nodes, server
from comfy_api.latest import InputImpl, io, ui
before = set(sys.modules)
sys.path.insert(0, {tests!r})
from comfyui import load_pack
load_pack({comfyui!r})
print(sorted({{name.split(".")[0] for name in set(sys.modules) - before}}))
"""
HEAVY = {"accelerate", "diffusers", "resvg_py", "scipy", "torch", "torchaudio", "transformers"}


def test_no_heavy_package_is_imported():
    script = SCRIPT.format(comfyui=str(COMFYUI), tests=str(ROOT / "tests" / "nodes"))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=COMFYUI
    )
    imported = set(names_in(done.stdout.splitlines()[-1]))
    assert "emo_pack" in imported
    assert not imported & HEAVY, done.stdout


def names_in(text: str) -> list[str]:
    """Read Python's way of writing a list of plain names."""
    return [name.strip(" '") for name in text.strip("[]").split(",")]
