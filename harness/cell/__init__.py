"""The part of the harness that runs inside a cell, beside the packages under test.

Nothing here may import the rest of the harness: a job description comes in as a file, records
go out as JSON lines. The modules must import on every version that a matrix names.
"""
