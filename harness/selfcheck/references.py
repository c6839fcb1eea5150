"""The page of references by hand, ``docs/references.md``: which pairs have one, and how small a change it sees.

What a pair sees comes from the published records of the matrix ``references``: ``by_hand_forward`` keeps how far, in
tolerances, the answer moves when each number of the prompt is changed by a thousandth of it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from packaging.version import Version

from harness.contracts.records import variants_in
from harness.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.contracts.record import Record
    from harness.matrix.cases import Case
    from harness.selfcheck.frozen import Kept

DOCUMENT = ROOT / "docs" / "references.md"

SEEN = "a thousandth more or less"
"""The evidence that ``by_hand_forward`` keeps."""

CHANGE = 1e-3
"""The share of each number by which it was changed."""

WAYS = {
    "forward": ("by_hand_forward", "image_that_matters"),
    "generate": ("by_hand_generate", "image_that_matters"),
    "loaded": ("by_hand_loaded",),
    "classifier": ("by_hand_classification",),
}
"""The ways to ask, each with the cases that hold it against a reference by hand."""

ENCODERS = frozenset({"bert", "roberta"})
ENCODER_DECODERS = frozenset({"t5", "bart"})

Pair = tuple[str, str]


def pairs(cases: Iterable[Case], names: Sequence[str] | None = None) -> dict[Pair, str]:
    """List the families and methods that cases ask together, each pair with the name of one such case."""
    found: dict[Pair, str] = {}
    for case in cases:
        if names is None or case.name in names:
            for variant in case.variants:
                if "model" in variant and "method" in variant:
                    found.setdefault((variant["model"], variant["method"]), case.name)
    return found


def reason(model: str, method: str, way: str) -> str:  # noqa: PLR0911 - a reason a line
    """Say why a pair has no reference by hand in one way to ask; nothing when there is no reason."""
    if method == "prompt_tuning_text":
        return "it is prompt tuning with another beginning, which `fresh_adapter` holds against the text"
    if method == "adaption_prompt" and model not in {"llama", "mistral", "gpt2"}:
        return "PEFT has adaption prompts for Llama, Mistral and GPT-2 alone"
    if method == "cpt" and model in ENCODERS | ENCODER_DECODERS:
        return "CPT is for causal language models alone"
    if method == "multitask_prompt_tuning" and model in ENCODERS:
        return "PEFT's forward for feature extraction takes no task ids"
    pictured = way in {"forward", "generate"} and method in {"prompt_tuning", "prefix_tuning", "p_tuning", "lora"}
    if model in {"idefics", "llava"} and not pictured:
        return "`image_that_matters` asks the methods of document 001 with an image, as they are in memory"
    if way == "generate" and model in ENCODERS:
        return "an encoder does not generate"
    if way == "classifier":
        if model not in ENCODERS:
            return "classifiers are asked on encoders; `classification_head` trains a decoder's"
        return "an encoder's classifier takes it as its forward does, which is held"
    return ""


def smallest_seen(records: Iterable[Record]) -> dict[Pair, float]:
    """Return for each pair the smallest share of the prompt's numbers whose change is seen, over layouts and cells.

    The distance is linear in the change, so that one of a thousandth that moves the answer by ten tolerances says that
    a tenth of that would be seen.
    """
    found: dict[Pair, float] = {}
    for record in variants_in(records):
        seen = record.evidence.get(SEEN)
        if record.case == "by_hand_forward" and record.variant["dtype"] == "float32" and isinstance(seen, float):
            pair = (record.variant["model"], record.variant["method"])
            share = CHANGE / seen if seen > 0 else float("inf")
            found[pair] = max(found.get(pair, 0.0), share)
    return found


def page(cases: Sequence[Case], records: Sequence[Record], frozen: Sequence[Kept] = ()) -> str:
    """Write the page; ``frozen`` are the answers that are kept as data."""
    asked = pairs(cases)
    models, methods = sorted({model for model, _ in asked}), sorted({method for _, method in asked})
    having = {way: pairs(cases, names) for way, names in WAYS.items()}
    seen = smallest_seen(records)
    lines = [
        "# References by hand",
        "",
        "Which pairs of a family and a method have a reference that PEFT has no hand in, and how small a change of the",
        "stored prompt it sees. Written by `python -m harness.selfcheck references --write` from the cases and the",
        "published records of `matrices/references.toml`.",
        "",
        "## The smallest change that is seen",
        "",
        "As a share of each number of the prompt, in plain forward and float32: the largest share over all layouts and",
        "pairs of releases, in per cent. 0.1 is the aim.",
        "",
        *_grid(models, methods, {pair: f"{100 * share:.2g}" for pair, share in seen.items()}),
        "",
        *_above(seen),
        "",
        "## Pairs with a reference",
        "",
        "`f` in forward, `g` in `generate`, `l` after loading, `c` in a classifier.",
        "",
        *_grid(models, methods, _letters(having)),
        "",
        "## Pairs without one, and why",
        "",
        *_without(asked, having),
        "",
        *_FROZEN.splitlines(),
        "",
        *_frozen_rows(frozen),
    ]
    return "\n".join(lines) + "\n"


_FROZEN = """## Answers kept from other releases

A reference by hand is computed with the base model of the pair that is measured. What a release changes in the meaning
of stored numbers for both alike it cannot see. `frozen_answers` loads adapters that other pairs wrote, and holds their
logits against those that they gave there. These are kept as float32 in `cases/adapters/PEFT/FAMILY/answers.safetensors`
with the versions that gave them, and come from the very models that were saved, in the cells of `matrices/library.toml`
that `cases/adapters/make.py` names:

    python -m harness.selfcheck frozen           # make all again in those cells, and compare with what is kept
    python -m harness.selfcheck frozen --write   # write them anew"""


def _frozen_rows(frozen: Sequence[Kept]) -> list[str]:
    """Say which pairs gave the answers of which families and methods."""
    rows = sorted((Version(one.made["peft"]), one.family, one) for one in frozen)
    return [
        "| peft | transformers | torch | family | methods |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {one.made['peft']} | {one.made['transformers']} | {one.made['torch']} | {family} "
            f"| {', '.join(one.methods)} |"
            for _, family, one in rows
        ),
    ]


def _grid(models: Sequence[str], methods: Sequence[str], cells: Mapping[Pair, str]) -> list[str]:
    methods = [method for method in methods if any((model, method) in cells for model in models)]
    lines = [f"| family | {' | '.join(methods)} |", f"| --- |{' --- |' * len(methods)}"]
    rows = {model: [cells.get((model, method), "") for method in methods] for model in models}
    return [*lines, *(f"| {model} | {' | '.join(row)} |" for model, row in rows.items() if any(row))]


def _above(seen: Mapping[Pair, float]) -> list[str]:
    shares = {f"{model} with {method}": share for (model, method), share in seen.items()}
    large = sorted(f"{pair} ({100 * share:.2g} %)" for pair, share in shares.items() if share > CHANGE)
    if not large:
        return [f"All {len(seen)} pairs see a change of a thousandth."]
    return [f"{len(seen) - len(large)} of {len(seen)} pairs see a change of a thousandth; not so {', '.join(large)}."]


def _letters(having: Mapping[str, Mapping[Pair, str]]) -> dict[Pair, str]:
    found: dict[Pair, str] = defaultdict(str)
    for way, of in having.items():
        for pair in of:
            found[pair] += way[0]
    return found


def _without(asked: Mapping[Pair, str], having: Mapping[str, Mapping[Pair, str]]) -> list[str]:
    """Group what has no reference by its reason."""
    grouped: dict[str, list[str]] = defaultdict(list)
    models, methods = {model for model, _ in asked}, {method for _, method in asked}
    for way in WAYS:
        if way == "classifier":
            continue
        for model in sorted(models):
            missing = [method for method in sorted(methods) if (model, method) not in having[way]]
            for method in missing:
                words = reason(model, method, way) or "not written yet"
                grouped[words].append(f"{model} {method} ({way})")
    return [f"- {words[0].upper()}{words[1:]}: {_shortened(places)}." for words, places in sorted(grouped.items())]


def _shortened(places: Sequence[str]) -> str:
    """List places, those of a family together."""
    by_family: dict[str, list[str]] = defaultdict(list)
    for place in places:
        family, _, rest = place.partition(" ")
        by_family[rest].append(family)
    return "; ".join(f"{rest}: {', '.join(families)}" for rest, families in by_family.items())
