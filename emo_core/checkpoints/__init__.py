"""Checkpoint files: read safely, recognise by their keys, load strictly, save."""
