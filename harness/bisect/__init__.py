"""Bisect: from a red variant to the release, the package and the commit."""
