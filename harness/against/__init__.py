"""Before and after: what a change of one package breaks and mends, and nothing of what was so before."""
