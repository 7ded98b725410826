"""Model folders: where the pack's files are looked for, and what lies in its own assets.

The bundled demo checkpoint shows up in `models/emo`, its VAE and LoRA among
ComfyUI's own.
"""

from __future__ import annotations

from pathlib import Path

import folder_paths

from ..emo_core import assets
from ..emo_core.checkpoints.families import PART_STEMS
from ..emo_core.files.pickles import PICKLE_ENDINGS

MODELS = "emo"
AUDIO_ENCODERS = "audio_encoders"
STORE_FOLDER = "emo_clips"
"""In ComfyUI's user folder."""
FileState = tuple[str, int, int]
"""Name, size in bytes, time of the last change in nanoseconds."""


def register_folders() -> None:
    """Tell ComfyUI where the pack's models lie. Reads no file."""
    own = Path(folder_paths.models_dir) / MODELS
    folder_paths.add_model_folder_path(MODELS, str(own), is_default=True)
    paths, endings = folder_paths.folder_names_and_paths[MODELS]
    # A new folder lists every file, notes and pictures too.
    endings = set(endings) | {".safetensors", *PICKLE_ENDINGS}
    folder_paths.folder_names_and_paths[MODELS] = (paths, endings)
    folder_paths.add_model_folder_path(MODELS, str(assets.MODELS))
    folder_paths.add_model_folder_path("vae", str(assets.VAES))
    folder_paths.add_model_folder_path("loras", str(assets.LORAS))


def model_files(folder: str) -> list[str]:
    """Names to choose from, for a combo; with slashes also where folders are joined otherwise, so
    that workflows can be shared."""
    return [name.replace("\\", "/") for name in folder_paths.get_filename_list(folder)]


def checkpoint_files() -> list[str]:
    """Models to choose from: of a checkpoint in several files, that of the denoising network."""
    names = model_files(MODELS)
    return [name for name in names if not Path(name).name.startswith(PART_STEMS)]


def model_path(folder: str, name: str) -> Path:
    """Where a chosen file lies."""
    return Path(folder_paths.get_full_path_or_raise(folder, name))


def checkpoint_state(path: Path) -> tuple[FileState, ...]:
    """Of a model's file and of those beside it that may belong to it, not of other models."""
    endings = {".safetensors", *PICKLE_ENDINGS}
    beside = [
        file
        for file in path.parent.iterdir()
        if file != path and file.suffix in endings and file.name.startswith(PART_STEMS)
    ]
    return tuple(sorted(file_state(file) for file in (path, *beside) if file.is_file()))


def file_state(path: Path) -> FileState:
    """What changes when a file is replaced."""
    stat = path.stat()
    return path.name, stat.st_size, stat.st_mtime_ns


def store_path() -> Path:
    """Where finished clips are kept; the temporary folder is emptied at every start."""
    return Path(folder_paths.get_user_directory()) / STORE_FOLDER


def temp_folder() -> Path:
    """ComfyUI's folder for what nobody keeps."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder
