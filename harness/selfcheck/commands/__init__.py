"""The commands of the self-checks, one module each."""
