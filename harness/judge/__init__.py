"""Records held against expectations and claims (pure)."""
