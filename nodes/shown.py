"""Texts on a node, which its user reads while it runs and afterwards."""

from __future__ import annotations

import re

from server import PromptServer

DIGIT_SPACE = "\u2007"
"""As wide as a digit, and kept where it stands."""


def show_text(text: str, *, node_id: object) -> None:
    """Show a text on a node; it stays until the next.

    The front end draws texts as HTML, where several spaces become one: a table loses its columns.
    """
    kept = re.sub(" {2,}", lambda spaces: DIGIT_SPACE * len(spaces[0]), text)
    PromptServer.instance.send_progress_text(kept, str(node_id))
