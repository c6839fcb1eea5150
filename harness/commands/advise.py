"""``advise``: which measured versions work for a use."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import click

from harness.commands.options import matrix_option, run_option
from harness.errors import ExitStatus, UsageError
from harness.explain.filters import Where, specifier
from harness.judge.origin import origin_of, published_defaults
from harness.matrix.cases import load_cases, read_selector
from harness.packages import EXPLAINED
from harness.program import example
from harness.selectors import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.contracts.record import VariantRecord
    from harness.explain.advice import Advice, Failure, Measured, Nearest, Use
    from harness.judge.defects import Defect
    from harness.matrix.cases import Case

_SHOWN = 5
_WIDTH = 100


@click.command(epilog=example("advise --method prefix_tuning --model bloom --transformers '>=4.48,<5'"))
@click.option("--method", help="A method of prompt learning, or a pattern.")
@click.option("--model", metavar="FAMILY", help="A model family, or a pattern.")
@click.option(
    "--case", "expression", metavar="EXPR", help="Case names or patterns, e.g. 'generate_with_cache:-cached'."
)
@click.option("--peft", metavar="SPEC", help="What you are bound to, e.g. '0.17.1' or '>=0.15,<0.18'.")
@click.option("--transformers", metavar="SPEC", help="As --peft.")
@click.option("--torch", metavar="SPEC", help="As --peft.")
@click.option("--sentence-transformers", metavar="SPEC", help="As --peft.")
@click.option("--python", metavar="SPEC", help="As --peft.")
@matrix_option
@run_option
@click.option("--offline", is_flag=True, help="Do not ask the index which releases there are.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def advise(expression: str | None, matrices: tuple[str, ...], runs: tuple[str, ...], **options: Any) -> None:
    """Say which versions work for a use, how others fail, and the nearest that work.

    It answers from measured cells only. Exit status 0: a cell within the bounds works for all of it; 1: none does;
    3: nothing was measured of it.
    """
    from harness.environments.releases import known_releases
    from harness.explain.advice import advise as answer
    from harness.judge.defects import cause_of, load_defects

    axes = {"method": options["method"], "model": options["model"]}
    asked = {axis: (pattern,) for axis, pattern in axes.items() if pattern}
    cases = load_cases()
    selected = read_selector(expression, cases)
    _check(cases, asked)
    versions = {name: specifier(name, text) for name in EXPLAINED if (text := options[name.replace("-", "_")])}
    where = Where(versions=versions, axes=asked)
    origin = origin_of(matrices or (() if runs else published_defaults()), runs)

    def meant(record: VariantRecord) -> bool:
        return selected(record.case, record.variant)

    releases = known_releases(versions, ask=not options["offline"])
    defects = load_defects()
    advice = answer(origin.records, where, meant, releases, cause_of(cases, defects))
    use = _question(expression, axes, versions)
    if advice is None or not advice.rests_on:
        elsewhere = "" if advice is None else _elsewhere(advice)
        _echo(f"{use}: nothing was measured of this in {origin.words}{elsewhere}", err=True)
        sys.exit(int(ExitStatus.NOTHING_MEASURED))
    if options["as_json"]:
        click.echo(json.dumps({"origin": origin.words, **_data(advice)}, ensure_ascii=False, indent=1))
    else:
        _print(advice, use, origin.words, defects)
    sys.exit(int(ExitStatus.AS_EXPECTED if advice.works else ExitStatus.NEEDS_A_PERSON))


def _check(cases: tuple[Case, ...], asked: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse a method or family that no case declares."""
    import fnmatch

    for axis, (pattern,) in asked.items():
        known = sorted({variant[axis] for case in cases for variant in case.variants if axis in variant})
        if not fnmatch.filter(known, pattern):
            message = f"no case has the {axis} {pattern!r}; {nearest(pattern, known)}"
            raise UsageError(message)


def _question(expression: str | None, axes: Mapping[str, str | None], versions: Mapping[str, str]) -> str:
    words = [axes["method"] or "every method", f"on {axes['model']}" if axes["model"] else "on every model"]
    words += [f"in {expression}"] if expression else []
    words += ["with " + " and ".join(f"{name} {spec}" for name, spec in versions.items())] if versions else []
    return " ".join(words)


def _elsewhere(advice: Advice) -> str:
    nearest = advice.together.nearest
    if nearest is None:
        return ""
    return f"; the nearest cell that works for all of it: {nearest.cell.facts.id}"


def _print(advice: Advice, question: str, words: str, defects: Mapping[str, Defect]) -> None:
    for line in textwrap.wrap(f"{question}, from {words}", _WIDTH):
        click.echo(line)
    cells = advice.rests_on
    _echo(f"rests on {_counted(len(cells), 'cell')}: {_span(cells)}")
    for one in advice.uses:
        _print_use(one, defects)
    together = advice.together
    click.echo("")
    if together.working:
        whole = [cell for cell in together.cells if len(cell.records) == cell.asked]
        count = f"{len(together.working)} of {_counted(len(whole), 'cell')} in which all of it was measured"
        _echo(f"All of it works in {count}, newest first")
        _print_cells(together.working)
        _print_pip(together.working[0])
        return
    _echo("No cell within the bounds works for all of it.")
    nearest = together.nearest
    if nearest is not None and (nearest.cell.works or len(advice.uses) == 1):
        _print_nearest(nearest)
        return
    _echo("No other measured cell does either, as far as all of it was measured.")
    alone: dict[str, list[tuple[str, Nearest]]] = {}
    for use in advice.uses:
        if not use.working and use.nearest is not None:
            alone.setdefault(use.nearest.cell.facts.id, []).append((use.name, use.nearest))
    for found in alone.values():
        _echo(f"For {', '.join(name for name, _ in found)} alone:")
        _print_nearest(found[0][1])


def _print_use(use: Use, defects: Mapping[str, Defect]) -> None:
    click.echo("")
    if not use.cells:
        _echo(f"{use.name}: not measured within the bounds")
        return
    newest = f", newest {use.working[0].facts.id}" if use.working else ""
    _echo(f"{use.name}: works in {len(use.working)} of {_counted(len(use.cells), 'cell')}{newest}")
    if use.promising:
        most = use.promising[0]
        measured = f"{len(most.records)} of {_counted(most.asked, 'variant')}"
        _echo(f"passed as far as measured ({measured}) in {len(use.promising)}, newest {most.facts.id}", "  ")
    for failure in use.failures:
        _print_failure(failure, defects)


def _print_failure(failure: Failure, defects: Mapping[str, Defect]) -> None:
    name = "silently WRONG" if failure.outcome == "wrong" else failure.outcome
    defect = defects.get(failure.defect)
    words = f"hits {defect.id} ({defect.words}): {defect.way_round}" if defect else failure.words
    line = textwrap.shorten(f"{name} in {_counted(len(failure.cells), 'cell')}: {words}", 3 * _WIDTH - 8)
    _echo(line, "  ")
    _echo(f"newest: {failure.cells[0].facts.id}", "    ")


def _print_cells(cells: tuple[Measured, ...]) -> None:
    for cell in cells[:_SHOWN]:
        left_out = len(cell.records) - cell.tried
        unsupported = f", {left_out} cannot exist there" if left_out else ""
        unmeasured = f", {cell.asked - len(cell.records)} not measured" if cell.asked > len(cell.records) else ""
        _echo(f"{cell.facts.id}  ({cell.tried} passed{unsupported}{unmeasured})", "    ")
    if len(cells) > _SHOWN:
        _echo(f"and {len(cells) - _SHOWN} more, down to {cells[-1].facts.id}", "    ")


def _print_nearest(nearest: Nearest) -> None:
    changes = ", ".join(f"{name} to {nearest.cell.releases.get(name, 'nothing')}" for name in nearest.changed)
    far = "how far is not known" if nearest.steps is None else f"{_counted(nearest.steps, 'release')} away"
    what = "works" if nearest.cell.works else "passed what was measured there"
    _echo(f"The nearest that {what} changes {changes} ({far}):" if changes else f"The one that {what}:", "  ")
    _print_cells((nearest.cell,))
    _print_pip(nearest.cell)


def _print_pip(cell: Measured) -> None:
    from harness.explain.advice import pip_command
    from harness.report.windows import command_line

    click.echo(f"  python {cell.releases['python']}, and")
    click.echo(command_line(pip_command(cell.facts)))


def _span(cells: tuple[Measured, ...]) -> str:
    if len(cells) == 1:
        return str(cells[0].facts.id)
    return f"{cells[-1].facts.id} to {cells[0].facts.id}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _echo(text: str, indent: str = "", *, err: bool = False) -> None:
    wrapped = textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    click.echo("\n".join(wrapped), err=err)


def _data(advice: Advice) -> dict[str, Any]:
    return {
        "works": advice.works,
        "rests_on": [cell.facts.id for cell in advice.rests_on],
        "together": _use_data(advice.together),
        "uses": [_use_data(use) for use in advice.uses],
    }


def _use_data(use: Use) -> dict[str, Any]:
    from harness.explain.advice import pip_command

    nearest = use.nearest
    return {
        "name": use.name,
        "cells": [cell.facts.id for cell in use.cells],
        "working": [{"cell": cell.facts.id, "pip": pip_command(cell.facts)} for cell in use.working],
        "failures": [
            {
                "outcome": one.outcome,
                "defect": one.defect or None,
                "words": one.words,
                "cells": [cell.facts.id for cell in one.cells],
            }
            for one in use.failures
        ],
        "nearest": nearest
        and {
            "cell": nearest.cell.facts.id,
            "changed": list(nearest.changed),
            "steps": nearest.steps,
            "pip": pip_command(nearest.cell.facts),
        },
    }
