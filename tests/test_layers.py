"""Who may import whom. `emo_core` stands alone, and inside it nothing runs back."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "emo_core"
COMFYUI = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "node_helpers", "nodes"}

BASE = {"config", "config_json", "errors", "assets", "precision"}
PARTS = BASE | {"files", "models", "audio", "face", "sampling", "video", "checkpoints"}
MAY_IMPORT = {
    "errors": set(),
    "assets": set(),
    "config": {"errors"},
    "config_json": {"config", "errors"},
    "precision": set(),
    "files": {"errors"},
    "models": BASE,
    "audio": BASE | {"files", "sampling"},
    "face": BASE,
    "sampling": BASE,
    "video": BASE | {"files", "audio"},
    "checkpoints": BASE | {"files", "models", "audio"},
    "film": BASE | {"files", "models", "audio", "face", "sampling"},
    "store": {"errors", "files"},
    "resume": PARTS | {"film", "store"},
    "takes": {"film", "sampling"},
    "sampler": PARTS | {"film", "store", "resume", "takes"},
    "pipeline": PARTS | {"film", "store", "sampler"},
    "preflight": PARTS | {"film", "store", "takes", "pipeline"},
    "synthetic": BASE | {"face"},
    "training": PARTS | {"pipeline", "synthetic"},
    "evaluation": PARTS | {"pipeline", "synthetic", "training"},
    "commands": PARTS
    | {"film", "store", "pipeline", "preflight", "synthetic", "training", "evaluation"},
    "__main__": {"commands", "errors"},
    "__init__": set(),
}
FILES = sorted(CORE.rglob("*.py"))


def imports(path: Path) -> list[tuple[int, int, str]]:
    """(line, level, dotted name) of every import in a file, those inside functions too."""
    found = []
    for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(item, ast.Import):
            found += [(item.lineno, 0, alias.name) for alias in item.names]
        elif isinstance(item, ast.ImportFrom) and item.module:
            found.append((item.lineno, item.level, item.module))
        elif isinstance(item, ast.ImportFrom):
            found += [(item.lineno, item.level, alias.name) for alias in item.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_core_stands_alone(path: Path) -> None:
    relative = path.relative_to(CORE)
    part = relative.parts[0].removesuffix(".py")
    allowed = MAY_IMPORT[part] | {part}
    for line, level, name in imports(path):
        first = name.split(".")[0]
        if level == 0:
            assert first not in COMFYUI, f"line {line} imports {name}"
            assert first != "emo_core", f"line {line}: import emo_core relatively"
            continue
        assert level <= len(relative.parts), f"line {line} reaches above emo_core"
        if level == len(relative.parts):
            assert first in allowed, f"line {line}: {part} may not import {first}"
