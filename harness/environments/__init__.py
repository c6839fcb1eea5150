"""How a cell comes to be: index, resolver, locks, installed environments."""
