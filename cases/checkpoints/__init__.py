"""Tiny checkpoints, and the script that made them."""
