"""Tell what a night found where people look: one issue for each cause, closed when it is green again."""
