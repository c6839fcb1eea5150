"""Reproduction and regression benchmarks for prompt learning in PEFT.

The package has three parts with a wall between the first two:

* ``harness.cell`` runs *inside* a cell, beside torch, transformers and peft;
* the other modules run *outside* and never import any of those;
* ``harness.interface`` holds the words of the files that cross the wall, and
  needs nothing but the standard library.
"""
