"""Finished clips on disk, each under the fingerprint of everything that shaped it."""
