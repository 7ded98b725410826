"""Measurements of what a model does, on portraits and voices it never saw in training."""
