"""``advise``: which measured versions work for a use."""

from __future__ import annotations

import fnmatch
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from harness.commands.options import matrix_option, run_option
from harness.errors import ExitStatus, UsageError
from harness.explain.filters import NEWEST, specifier
from harness.explain.uses import DEFAULT, USES, Use, method_of, typed
from harness.judge.origin import asked_origin
from harness.matrix.cases import load_cases, read_selector
from harness.packages import EXPLAINED
from harness.program import example
from harness.selectors import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.contracts.record import Record
    from harness.explain.advice import Advice, Subject
    from harness.matrix.cases import Case


@click.command(
    epilog=example(
        "advise --method prefix_tuning --model qwen2 --transformers 4.56",
        "advise --peft 0.16.0",
        "advise --installed requirements.txt",
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
@matrix_option
@run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def advise(use_name: str | None, expression: str | None, **options: Any) -> None:
    """Say which versions work for a use, how others fail, and the nearest that work.

    The first line is the answer. It rests on measured cells only, of all published records and of this machine. Exit
    status 0: something within the bounds works; 1: nothing does; 3: nothing was measured of it.
    """
    from harness.report.advice import Wording, as_data

    asker = Asker(use_name, expression, options)
    advice = asker.advice()
    if options["as_json"]:
        click.echo(json.dumps(as_data(advice, asker.origin.words), ensure_ascii=False, indent=1))
    else:
        click.echo("\n".join(Wording(advice, asker.defects, asker.origin.words).lines()))
    sys.exit(int(_status(advice)))


class Asker:
    """Reads what was asked for on the command line, and the records that answer it."""

    def __init__(self, use_name: str | None, expression: str | None, options: Mapping[str, Any]) -> None:
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
        self.origin = asked_origin(options["matrices"], options["runs"], names, self.selected)
        self.defects = load_defects()
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

    def _chosen(self, subject: Subject) -> bool:
        method, place = self.method or "*", self.place or "*"
        named = fnmatch.fnmatch(subject.method, method) and (
            self.use.may_choose or fnmatch.fnmatch(subject.place, place)
        )
        return named and (bool(self.method) or subject.method != "lora")


def _use(name: str | None, expression: str | None, sentence_transformers: str | None) -> Use:
    if expression:
        return Use(name="cases", words=expression, expression=expression)
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


def _status(advice: Advice) -> ExitStatus:
    if advice.ranges:
        return ExitStatus.AS_EXPECTED
    return ExitStatus.NEEDS_A_PERSON if advice.failing else ExitStatus.NOTHING_MEASURED
