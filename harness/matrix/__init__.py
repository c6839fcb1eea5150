"""What is asked: TOML in, cells and variants out (pure)."""
