"""Write one tiny adapter of each method with the PEFT of the cell that runs this.

In a cell: ``python -m cases.adapters.make``. It writes ``cases/adapters/VERSION/METHOD/``, the config and the weights
as ``save_pretrained`` writes them, without the model card. The committed ones come from peft 0.9.0 beside transformers
4.38.2, 0.13.2 beside 4.45.2 and 0.21.2 beside 5.23.0 (the cells of ``matrices/library.toml``).
"""

from __future__ import annotations

from pathlib import Path

METHODS = ("prompt_tuning", "prefix_tuning", "prefix_tuning_projection", "p_tuning", "lora")


def make(method: str, folder: Path) -> None:
    """Write an adapter whose numbers depend on nothing but the method."""
    from cases.written_by_another_release import adapter

    adapter(method).save_pretrained(folder / method)
    for path in (folder / method).iterdir():
        if path.suffix not in {".json", ".safetensors"}:
            path.unlink()


def main() -> None:
    """Write all methods for this release."""
    import peft

    for method in METHODS:
        make(method, Path(__file__).parent / peft.__version__)
        print(peft.__version__, method)


if __name__ == "__main__":
    main()
