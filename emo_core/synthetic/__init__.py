"""Drawn portraits and generated voices whose truth is known.

Everything is made from a split name and an index: the same two always give the same portrait,
motion or voice, and nothing of one split (train, validation, test) occurs in another.
"""
