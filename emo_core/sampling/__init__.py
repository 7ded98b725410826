"""Noise schedule, guidance, clip plan and the generation loop. Knows models only as callables."""
