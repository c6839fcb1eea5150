"""What the list of commands says."""

SUMMARIES = {
    "advise": "Which measured versions work for a use, how others fail, the nearest that work.",
    "baseline": "Measure MATRIX, and a sample of its cells with one nox session each: the ratio.",
    "bisect": "Find the release, the package and the commit that broke or fixed a variant.",
    "calibrate": "State the false alarms of compare here, and the smallest slowdown it finds.",
    "catalogue": "Check that every case is whole, and that docs/catalogue.md is fresh.",
    "check": "Hold the expectation windows against the published records.",
    "claims": "What the documents claim: confirmed, refuted or untested, and the cells that decide.",
    "clean": "Free the disk that environments take.",
    "compare": "Which variants are slower in the second CELL, by how much and how sure.",
    "explain": "With which versions CASE fails, in the fewest windows that account for it.",
    "gate": "Judge RUN and set the exit status: 0 expected, 1 somebody has to look, 3 nothing.",
    "merge": "Join runs that measured parts of one matrix.",
    "plan": "List the cells of MATRIX, what is cached, and what a run would cost.",
    "propose": "Print the diff of the case files after which every record is as expected.",
    "prove": "Hold layered environments against plain ones; fail if one record differs.",
    "publish": "Make the records of RUN the reference of its matrix.",
    "report": "Draw RUN: the grid here; Markdown, HTML, JUnit XML and JSON in reports/latest/.",
    "repro": "Write one script that shows what CASE does in a cell, for uv run.",
    "repro-check": "Run such scripts for the windows of MATRIX, and hold each against its record.",
    "run": "Measure what is not known yet of MATRIX, a name in matrices/ or a path.",
    "steady": "Measure cells several times; fail if a variant does not come out alike.",
    "watch": "What became slower on this kind of machine, confirmed side by side.",
}
"""What the list of commands says, short enough for 100 columns; the rest stands in each command's own help."""
