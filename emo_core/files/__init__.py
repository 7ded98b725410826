"""Files of tensors: read lazily and safely, written piece by piece."""
