"""``advise``: which measured versions work for a use."""

from __future__ import annotations

import fnmatch
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from harness.commands.options import matrix_option, run_option
from harness.errors import ExitStatus, UsageError
from harness.explain.filters import NEWEST, specifier
from harness.explain.uses import COMMON_FAMILIES, COMMON_METHODS, DEFAULT, USES, Use, method_of, typed
from harness.interface import variant_id
from harness.judge.origin import asked_origin
from harness.matrix.cases import load_cases, read_selector
from harness.packages import EXPLAINED
from harness.program import example
from harness.selectors import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.contracts.record import Record
    from harness.explain.advice import Advice, Point, Subject
    from harness.judge.defects import Defect
    from harness.matrix.cases import Case


@click.command(
    epilog=example(
        "advise --method prefix_tuning --model qwen2 --transformers 4.56",
        "advise --peft 0.16.0",
        "advise --peft 0.21 --use saving",
    )
)
@click.option("--method", help="A method of prompt learning, or a pattern (default: the common ones).")
@click.option("--model", metavar="FAMILY", help="A model family, or a pattern (default: the common ones).")
@click.option("--use", "use_name", type=click.Choice(list(USES)), help=f"What for (default: {DEFAULT}).")
@click.option("--case", "expression", metavar="EXPR", help="Cases instead of a use, e.g. 'static_cache:llama'.")
@click.option("--peft", metavar="SPEC", help="What you are bound to: 0.17.1, 0.17 (the minor), '>=0.15,<0.18', newest.")
@click.option("--transformers", metavar="SPEC", help="As --peft.")
@click.option("--torch", metavar="SPEC", help="As --peft.")
@click.option("--sentence-transformers", metavar="SPEC", help="As --peft; asks about embeddings.")
@click.option("--python", metavar="SPEC", help="As --peft.")
@click.option(
    "--installed",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Ask about the versions of the active environment, or of a requirements or lock file.",
)
@click.option("--measure", is_flag=True, help="Measure the newest cell that is asked for, now, and answer from it.")
@click.option("--all", "everything", is_flag=True, help="Then the answer for each case, not for generate alone.")
@matrix_option
@run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def advise(use_name: str | None, expression: str | None, **options: Any) -> None:
    """Say which versions work for a use, how others fail, and the nearest that work.

    The first line is the answer. It rests on measured cells only, of all published records and of this machine.
    Without a question: how things stand. Exit status 0: something within the bounds works; 1: nothing does; 3: nothing
    was measured of it.
    """
    from harness.report.advice import Wording, as_data

    named = any(options[name] for name in ("method", "model", *(one.replace("-", "_") for one in EXPLAINED)))
    asks = named or use_name or expression or options["installed"] is not None or options["as_json"]
    installed = _installed(options)
    asker = Asker(use_name, expression, options)
    if options["measure"]:
        asker.measure()
    advice = asker.advice()
    wording = Wording(advice, asker.defects, asker.origin.words)
    pair = asker.pair() if installed else None
    if options["as_json"]:
        click.echo(json.dumps(as_data(advice, asker.origin.words), ensure_ascii=False, indent=1))
    elif not asks:
        click.echo("\n".join(wording.summary(asker.newest_pair())))
    elif pair is not None:
        click.echo("\n".join(wording.pair_lines(pair, installed)))
    else:
        click.echo("\n".join(wording.lines()))
    if options["everything"]:
        _print_cases(options, asker.defects)
    sys.exit(int(_status(advice) if pair is None else _status_of_pair(advice, pair)))


def _installed(options: dict[str, Any]) -> str:
    """Put the versions that are installed in the place of bounds that nobody gave, and return where they are from."""
    from harness.environments.installed import read_installed

    if options["installed"] is None:
        return ""
    found = read_installed(options["installed"])
    for package in ("peft", "transformers"):
        options[package] = options[package] or found.specifiers[package]
    return found.where


def _print_cases(options: Mapping[str, Any], defects: Mapping[str, Defect]) -> None:
    """Print the answer for each case that was measured of what is asked for."""
    from harness.report.advice import Wording, wrap

    for case in load_cases(whole=()):
        # Who names a family does not ask about what has none.
        if options["model"] and not any("model" in variant for variant in case.variants):
            continue
        asker = Asker(None, case.name, options, defects)
        advice = asker.advice()
        if advice.own:
            told = Wording(advice, asker.defects, asker.origin.words)
            click.echo("\n".join(wrap(f"{case.name}: {told.brief()}")))


class Asker:
    """Reads what was asked for on the command line, and the records that answer it."""

    def __init__(
        self,
        use_name: str | None,
        expression: str | None,
        options: Mapping[str, Any],
        defects: Mapping[str, Defect] | None = None,
    ) -> None:
        """Read the options. Raises :class:`UsageError` for what no case or release is called."""
        from harness.judge.defects import cause_of, load_defects

        self.use = _use(use_name, expression, options["sentence_transformers"])
        declared = load_cases(whole=())
        self.selected = read_selector(self.use.expression, declared)
        names = [case.name for case in declared if any(self.selected(case.name, one) for one in case.variants)]
        self.cases = load_cases(whole=names)
        self.method, self.place = (
            _known("method", options["method"], declared),
            _known("model", options["model"], declared),
        )
        self.matrices, self.runs = tuple(options["matrices"]), tuple(options["runs"])
        self.origin = asked_origin(self.matrices, self.runs, names, self.selected)
        self.defects = load_defects() if defects is None else defects
        self.cause = cause_of(self.cases, self.defects)
        typed_versions = {name: options[name.replace("-", "_")] for name in EXPLAINED}
        self.versions = {
            name: self._newest(name) if text.strip() == NEWEST else specifier(name, text)
            for name, text in typed_versions.items()
            if text
        }

    def _newest(self, package: str) -> str:
        """Return the specifier of the newest release that was measured."""
        from packaging.version import Version

        from harness.explain.table import label_of, releases_of

        found = (releases_of(one.cell).get(package) for one in self.origin.records if label_of(one))
        newest = max((Version(one) for one in found if one), default=None)
        if newest is None:
            message = f"nothing was measured with {package} in {self.origin.words}; leave out --{package}"
            raise UsageError(message)
        return f"=={newest}"

    def advice(self) -> Advice:
        """Answer the question."""
        from harness.contracts.record import VariantRecord
        from harness.explain.advice import Advice, Question, table_of

        def asked(record: Record) -> bool:
            return isinstance(record, VariantRecord) and self.selected(record.case, record.variant)

        table = table_of(self.origin.records, self.use, asked, self.cause, self.versions)
        question = Question(
            use=self.use, versions=self.versions, method=self.method, place=self.place, chosen=self._chosen
        )
        return Advice(table, question)

    def measure(self) -> None:
        """Measure the newest cell that is asked for, and ask about its releases alone.

        Raises :class:`UsageError` where no release that is known is within the bounds.
        """
        from harness.explain.advice import Subject
        from harness.matrix.plan import Selection
        from harness.matrix.spec import Cell, Matrix
        from harness.paths import reports_folder
        from harness.run.pipeline import How, run_matrix
        from harness.run.runs import new_run

        folder, run = reports_folder() / "asked", new_run("asked")
        cell = Cell(python=self._pin("python", "3.11"), pins=self._pins())
        matrix = Matrix(name="asked", path=folder / "asked.toml", title="Asked for", cells=(cell,), timed=False)
        words = [
            f"{case.name}:{variant_id(variant)}"
            for case in self.cases
            for variant in case.variants
            if self.selected(case.name, variant)
            if self._chosen(Subject(method_of(case.name, variant), variant.get(self.use.axis, "")))
            if self._is_common(variant)
        ]
        run_matrix(matrix, self.cases, Selection(case=",".join(words)), run, How())
        self.versions = {name: f"=={pin}" for name, pin in cell.pins.items() if name in self.use.packages}
        runs = (*self.runs, run.id) if self.runs or self.matrices else ()
        self.origin = asked_origin(self.matrices, runs, [case.name for case in self.cases], self.selected)

    def _is_common(self, variant: Mapping[str, str]) -> bool:
        """Return whether a variant is of a common method and family, where nobody names one."""
        methods, families = {*COMMON_METHODS, ""}, {*COMMON_FAMILIES, ""}
        return (bool(self.method) or variant.get("method", "") in methods) and (
            bool(self.place) or variant.get("model", "") in families
        )

    def _pins(self) -> dict[str, str]:
        """Return the newest pins within the bounds: of a range that works where one does, else of what is known."""
        advice = self.advice()
        good = dict(zip(self.use.packages, advice.ranges[0].newest, strict=True)) if advice.ranges else {}
        pins = {name: self._pin(name, str(good.get(name, ""))) for name in self.use.packages}
        return {**pins, "torch": self._pin("torch", "")}

    def _pin(self, package: str, proposed: str) -> str:
        from packaging.version import Version

        from harness.environments.releases import known_releases
        from harness.explain.advice import is_within
        from harness.explain.table import label_of, releases_of

        spec = self.versions.get(package, "")
        if proposed and is_within(Version(proposed), spec):
            return proposed
        measured = {releases_of(one.cell).get(package, "") for one in self.origin.records if label_of(one)} - {""}
        # A bound may ask for a release that is known and was never measured; without one, what was measured is enough.
        known = {*known_releases([package])[package]} if spec and package in known_releases([package]) else set()
        newest = max((one for one in map(Version, measured | known) if is_within(one, spec)), default=None)
        if newest is None:
            message = f"no release of {package} is {spec}; give --{package} a release that there is"
            raise UsageError(message)
        return str(newest)

    def newest_pair(self) -> Point:
        """Return the newest releases that were measured, as a pair."""
        from packaging.version import Version

        return tuple(Version(self._newest(package).removeprefix("==")) for package in self.use.packages)

    def pair(self) -> Point | None:
        """Return the pair that is asked about, None where a bound leaves more than one release."""
        from packaging.version import InvalidVersion, Version

        try:
            return tuple(Version(self.versions.get(name, "").removeprefix("==")) for name in self.use.packages)
        except InvalidVersion:
            return None

    def _chosen(self, subject: Subject) -> bool:
        method, place = self.method or "*", self.place or "*"
        named = fnmatch.fnmatch(subject.method, method) and (
            self.use.may_choose or fnmatch.fnmatch(subject.place, place)
        )
        return named and (bool(self.method) or subject.method != "lora")


def _use(name: str | None, expression: str | None, sentence_transformers: str | None) -> Use:
    if expression:
        attached = USES["sentence-transformers"]
        kind = attached if expression.startswith("sentence_transformer_pooling") else USES[DEFAULT]
        return replace(kind, name="cases", words=f"in {expression}", expression=expression)
    return USES[name or ("sentence-transformers" if sentence_transformers else DEFAULT)]


def _known(axis: str, text: str | None, cases: Sequence[Case]) -> str:
    """Return a method or family as the cases spell it. Raises :class:`UsageError` where none is called so."""
    if not text:
        return ""
    spelt = typed(text)
    variants = [(case.name, variant) for case in cases for variant in case.variants]
    known = {
        value
        for case, variant in variants
        if (value := method_of(case, variant) if axis == "method" else variant.get(axis, ""))
    }
    if not fnmatch.filter(known, spelt):
        message = f"no case has the {axis} {text!r}; {nearest(spelt, sorted(known))}"
        raise UsageError(message)
    return spelt


def _status_of_pair(advice: Advice, pair: Point) -> ExitStatus:
    from harness.explain.advice import GOOD

    evidence = advice.evidence(pair)
    if evidence is None:
        return ExitStatus.NOTHING_MEASURED
    return ExitStatus.AS_EXPECTED if evidence in GOOD else ExitStatus.NEEDS_A_PERSON


def _status(advice: Advice) -> ExitStatus:
    if advice.ranges:
        return ExitStatus.AS_EXPECTED
    return ExitStatus.NEEDS_A_PERSON if advice.failing else ExitStatus.NOTHING_MEASURED
