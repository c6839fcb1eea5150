"""The suite's own mutation test: faults planted in copies of a release's sources, and which cases see them."""
