"""From outcomes over versions to the smallest set of version windows that accounts for them (pure)."""
