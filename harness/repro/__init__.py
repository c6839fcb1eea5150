"""From a case, a variant and a cell to one script that a stranger can run."""
