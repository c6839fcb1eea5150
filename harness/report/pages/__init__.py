"""Pages over all that is published: of cases and defects for the docs, and the static site."""
