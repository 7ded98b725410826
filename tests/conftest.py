"""Makes `emo_core` importable from any start folder.

The root is appended, never inserted: inside a ComfyUI environment the name `nodes` must keep
meaning ComfyUI's own module.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))
