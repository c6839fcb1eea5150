"""Propose edits to expectation windows, so that they say what was measured."""
