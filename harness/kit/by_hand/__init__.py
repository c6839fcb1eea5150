"""References by hand: from the stored numbers to the answer, with the base model alone."""
