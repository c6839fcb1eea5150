"""What a case imports: families, methods, models, oracles, trials."""
