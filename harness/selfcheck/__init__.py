"""The suite held against itself; behind nox sessions, no verbs of the product."""
