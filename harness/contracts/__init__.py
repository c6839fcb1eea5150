"""What crosses a file: records, jobs, plans and locks, each with one reader that validates and one writer."""
