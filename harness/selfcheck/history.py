"""Real commits of PEFT, each held against its parent: those that touched prompt learning, and those that did not."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from harness.against.question import UPSTREAM
from harness.against.told import QUICK
from harness.escape import markdown, markdown_code, one_line
from harness.judge.reference import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from harness.against.answer import Answer

PEFT = UPSTREAM.format("peft")

_CLONE = re.compile(r"git\+file://\S+?@([0-9a-f]{40})")


@dataclass(frozen=True, kw_only=True)
class Change:
    """A commit of PEFT, by its pull request and the beginning of its hash.

    ``day`` is the one whose newest transformers stands beside it: that of the commit, or of the release that it was
    made for. ``whole`` is a case expression: what is measured with every variant besides the quick ring, because a
    variant for each method does not reach the lines that the commit changed.
    """

    pull: int
    commit: str
    day: date
    about: str
    touched: bool = True
    whole: str = ""


TOUCHED = (
    Change(pull=1832, commit="03798a914", day=date(2024, 6, 6), about="Llama's new key-value cache"),
    Change(pull=1969, commit="27833a2e6", day=date(2024, 8, 7), about="Bloom's new cache; for transformers 4.44"),
    Change(pull=2106, commit="c29810bad", day=date(2024, 9, 27), about="when a cache counts as empty"),
    Change(pull=2140, commit="1eab9bd10", day=date(2024, 10, 9), about="prompt learning with transformers 4.45"),
    Change(pull=2149, commit="c039b0035", day=date(2024, 10, 14), about="no cache in encoders"),
    Change(pull=2096, commit="fb6108a78", day=date(2024, 10, 24), about="prefix tuning hands over a DynamicCache"),
    Change(
        pull=2189,
        commit="5cda3a883",
        day=date(2024, 11, 1),
        about="prefix tuning on several devices",
        whole="ways_to_load",
    ),
    Change(pull=2276, commit="ae55fdcc5", day=date(2024, 12, 13), about="adaption prompts and position embeddings"),
    Change(pull=2314, commit="4cdcaf95f", day=date(2025, 1, 10), about="adaption prompts with transformers 4.48"),
    Change(
        pull=2220,
        commit="ed3c82866",
        day=date(2025, 1, 23),
        about="no needless copy of modules_to_save",
        whole="classification_head",
    ),
    Change(pull=2458, commit="1fb98f164", day=date(2025, 5, 5), about="four-dimensional attention masks"),
    Change(pull=2646, commit="1c75d96ac", day=date(2025, 7, 14), about="modules_to_save of prompt learning"),
    Change(pull=2753, commit="5d9745323", day=date(2025, 9, 4), about="caches without key_cache"),
    Change(pull=2953, commit="b4750c719", day=date(2026, 1, 7), about="cartridges"),
    Change(pull=3120, commit="52efb763d", day=date(2026, 4, 1), about="no cache position in transformers 5.4"),
    Change(pull=3128, commit="7a4b07f20", day=date(2026, 4, 8), about="a prefix that begins at zero"),
    Change(pull=3336, commit="036abd27e", day=date(2026, 6, 19), about="arguments of prompt learning in one place"),
    Change(pull=3490, commit="4ddb88b47", day=date(2026, 8, 13), about="state dicts handled anew"),
    Change(pull=3558, commit="625c9e3f2", day=date(2026, 8, 19), about="arguments that transformers warns of"),
    Change(pull=3559, commit="b60f0552e", day=date(2026, 8, 20), about="duplicate adapter names are refused"),
)
"""Commits that touched prompt learning."""


def _other(pull: int, commit: str, day: date, about: str) -> Change:
    return Change(pull=pull, commit=commit, day=day, about=about, touched=False)


UNTOUCHED = (
    _other(2089, "8f3970865", date(2024, 9, 27), "DoRA in mixed batches"),
    _other(2090, "8efa0cb73", date(2024, 10, 9), "LoRA, a missing adapter in mixed batches"),
    _other(2160, "d5f4e6dfe", date(2024, 10, 24), "HRA's speed"),
    _other(2163, "28a5ba112", date(2024, 11, 1), "VeRA on several devices"),
    _other(2180, "b1fd97dc3", date(2024, 11, 5), "LoKr"),
    _other(2284, "c1fe8105a", date(2024, 12, 18), "LoRA with torchao"),
    _other(2335, "83028178e", date(2025, 1, 23), "LoRA on multi-head attention"),
    _other(2347, "53d811521", date(2025, 1, 27), "LoRA's documentation"),
    _other(2512, "352a23008", date(2025, 4, 28), "LoRA, ranks of weighted adapters"),
    _other(2510, "eb5e9bcbd", date(2025, 5, 5), "LoRA on multi-head attention, an argument"),
    _other(2665, "434651346", date(2025, 7, 24), "LoRA on several parameters of a module"),
    _other(2761, "5ef8e85d1", date(2025, 9, 8), "X-LoRA's hook"),
    _other(2912, "b10527e82", date(2025, 11, 21), "LoRA, caching of target parameters"),
    _other(2992, "389f5883b", date(2026, 1, 13), "CorDA on Conv1D"),
    _other(3165, "e84dd8f40", date(2026, 4, 16), "LoRA, features of transposed layers"),
    _other(3422, "aee16509f", date(2026, 8, 13), "TinyLoRA's shared weights"),
    _other(3412, "ca541c04c", date(2026, 8, 13), "DEFT's devices"),
    _other(3434, "81e417b69", date(2026, 8, 13), "DeLoRA's refusals"),
    _other(3505, "3a90cd4ab", date(2026, 8, 19), "IA3's message"),
    _other(3576, "5d602fdbf", date(2026, 8, 20), "LoRA under ZeRO-3"),
)
"""Commits that touched the code of other methods alone: no difference may be told."""

HISTORY = (*TOUCHED, *UNTOUCHED)


def for_others(answer: Answer) -> Answer:
    """Return an answer as somebody else may have it: commits of PEFT's own repository, and no path of this machine."""
    before, after = (f"peft@{side.rpartition('@')[2]}" for side in (answer.before, answer.after))
    causes = tuple(replace(one, script="", again=_CLONE.sub(rf"git+{PEFT}@\1", one.again)) for one in answer.causes)
    return replace(answer, before=before, after=after, run="", causes=causes)


def read_history() -> dict[str, dict[str, Any]]:
    """Read what is published of commits: the JSON of ``against`` by the beginning of the hash."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(history_folder().glob("*.json"))}


def history_folder() -> Path:
    """Return the folder of what is published of commits, a file for each."""
    return REFERENCE / "history"


def page(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Write ``docs/history.md`` from what was measured, by commit as :func:`read_history` gives it."""
    lines = [
        "# What real commits of PEFT broke and mended",
        "",
        "Each commit is held against its parent by `against`, beside the newest transformers of its day, with a",
        "variant for each case and method; where those do not reach the lines that the commit changed, with all",
        "variants of a case besides, which the row names. Written by `nox -s history`; a row has what was measured,",
        "and the seconds from the start to the end of the comparison, environments included where they were not there.",
        "What was known before is not measured again, so that seconds are those of what was left. A row without a",
        "measurement is one that nobody has measured yet.",
    ]
    for heading, commits in (("Commits that touched prompt learning", TOUCHED), ("Commits that did not", UNTOUCHED)):
        lines += [
            "",
            f"## {heading}",
            "",
            "| commit | what it is about | transformers | told | variants | seconds |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_row(one, measured.get(one.commit)) for one in commits]
        for one in commits:
            if (found := measured.get(one.commit)) and found["causes"]:
                lines += ["", f"### #{one.pull}: {one.about}", "", *_causes(found["causes"])]
    return "\n".join(lines) + "\n"


def counted(found: Mapping[str, Any]) -> dict[str, int]:
    """Count the variants of each kind of change, the gravest first."""
    counts: dict[str, int] = {}
    for cause in found["causes"]:
        counts[cause["change"]] = counts.get(cause["change"], 0) + len(cause["variants"])
    return counts


def _row(one: Change, found: Mapping[str, Any] | None) -> str:
    link = f"[#{one.pull}]({PEFT}/pull/{one.pull}) `{one.commit}`"
    if found is None:
        return f"| {link} | {one.about} | | not measured | | |"
    told = ", ".join(f"{count} {change}" for change, count in counted(found).items()) or "no difference"
    if not found["compared"]:
        told = f"nothing could be compared: {markdown(_short('; '.join(found['missing'])))}"
    if found["flaky"]:
        told += f" ({len(found['flaky'])} flaky)"
    whole = found["whole"]
    ring = " (quick)" * (found["ring"] == QUICK) + (f" and `{markdown_code(whole)}`" if whole else "")
    seconds = round(found["seconds"])
    beside = f"{one.about} | {found['transformers']}"
    return f"| {link} | {beside} | {told} | {found['compared']}{ring} | {seconds} |"


def _causes(causes: Iterable[Mapping[str, Any]]) -> list[str]:
    lines = []
    for cause in causes:
        words = f"{cause['before']} -> {cause['after']}" if cause["before"] != cause["after"] else cause["after"]
        counts = ", ".join(f"{name} {pair[0]} | {pair[1]}" for name, pair in cause["variants"][0]["counts"].items())
        said = f" ({counts})" if counts else ""
        lines.append(
            f"- **{cause['change']}** {len(cause['variants'])} x `{markdown_code(_short(words))}`{said}, "
            f"e.g. `{markdown_code(cause['example'])}`"
        )
    return lines


def _short(text: str, limit: int = 240) -> str:
    text = one_line(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
