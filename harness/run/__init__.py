"""Measuring, seen from outside: workers, runs, the store."""
