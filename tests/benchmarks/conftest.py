"""Makes the tests' own ComfyUI server and prompts, and `timing`, importable."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "nodes"))
sys.path.append(str(Path(__file__).resolve().parent))
