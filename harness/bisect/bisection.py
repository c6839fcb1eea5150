"""A bisect from the command line to its report: reads the options, runs the flow, writes the end."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from packaging.version import InvalidVersion, Version

from harness.bisect.commits import CommitSearch, NoCommit
from harness.bisect.flow import (
    Result,
    Wanted,
    bisect_corners,
    cell_and_matrix,
    failing_cell,
    search_axis,
    search_corners,
    which_packages,
)
from harness.bisect.probe import Prober, Subject
from harness.bisect.question import Asking, Journal, Step
from harness.bisect.releases import Axis, Found, NoEnds, make_axis
from harness.bisect.report import About, answer_lines, reproduce_lines, step_line, write_report
from harness.bisect.repository import Repository
from harness.bisect.search import Find
from harness.bisect.symptom import LATENCY, make_rule
from harness.environments.interpreters import ensure_pythons
from harness.environments.releases import Release, last_patches, list_releases
from harness.errors import UsageError
from harness.explain.filters import parse_where
from harness.interface import variant_id, with_defaults
from harness.matrix.cases import load_cases, select_variants
from harness.matrix.plan import concrete_device, find_cell
from harness.matrix.read import MATRICES, load_matrix
from harness.matrix.spec import NEWEST, Cell
from harness.packages import PACKAGES, TABLE, WINDOW_AXES
from harness.paths import reports_folder
from harness.run.keys import project_code
from harness.run.runs import Run
from harness.run.store import Store
from harness.selectors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from harness.errors import ExitStatus
    from harness.matrix.cases import Case

    Say = Callable[[str], None]

_DOCUMENTED = "documented"
_MOST_CORNERS = 3


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a person asked for; see ``prompt-bench bisect --help``. ``worse_by`` is a share."""

    case: str
    variant: str | None = None
    where: str = ""
    axis: str | None = None
    good: str | None = None
    bad: str | None = None
    find: str | None = None
    any_failure: bool = False
    pins: Mapping[str, str] = field(default_factory=dict)
    base_cell: str | None = None
    matrix: str = "grid"
    python: str = "3.11"
    as_of: date | None = None
    as_of_axis: bool = False
    minors: bool = False
    from_matrix: str | None = None
    metric: str | None = None
    worse_by: float = 0.2
    repo: str | None = None
    first_parent: bool = False
    good_commit: str | None = None
    bad_commit: str | None = None
    corners: bool = False
    device: str = "cpu"
    fresh: bool = False
    command: tuple[str, ...] = ()


def run(options: Options, say: Say) -> ExitStatus:
    """Do what was asked for, and say every step; return what the exit status says."""
    return find(options, say).exit_status()


def find(options: Options, say: Say) -> Result:
    """Do what was asked for, and say every step. Raises :class:`UsageError` before anything is measured."""
    return _Session(options, say).run()


class _Session:
    def __init__(self, options: Options, say: Say) -> None:
        self.options, self.say = options, say
        check_packages(options)
        self.case, self.variant, matching = choose_variant(options)
        self.good_cell, self.bad_cell = (self._cell_of(one) for one in (options.good, options.bad))
        self.axis = self._axis_name()
        self.wanted = self._wanted()
        if self.axis is not None and options.axis is None and not (self.good_cell and self.bad_cell):
            say(f"searching the releases of {self.axis} (choose with --axis PACKAGE)")
        if matching > 1:
            name = variant_id(self.variant)
            say(f"{matching} variants fit; taking {name} (choose with --variant NAME or --where AXIS=VALUE)")
        self.number = 0

    def run(self) -> Result:
        held = self._held()
        run = Run(id=self._run_id(held))
        run.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            message = f"this very bisect is running already (run {run.id}); wait for it, or ask something else"
            raise UsageError(message) from None
        with lock:
            return self._answer(held, run)

    def _answer(self, held: Cell, run: Run) -> Result:
        options = self.options
        journal = Journal(run.folder / "answers.jsonl", fresh=options.fresh)
        asking = Asking(journal, self._tell)
        timed = (options.metric or "").startswith(LATENCY)
        matrix = load_matrix(options.matrix)
        subject = Subject(
            case=self.case, variant=self._on_device(), limit_s=matrix.limit_s, timed=timed, examples=matrix.examples
        )
        store = Store(reports_folder() / "store.sqlite")
        about = About(
            case=self.case.name, variant=self._on_device(), held=_words(held, self.axis),
            command=options.command, run=run.id, metric=options.metric,
        )  # fmt: skip
        ensure_pythons([held.python])
        axis = None if self.axis is None else self._make_axis(held)
        self.say(f"{about.subject} ({self._on_device()['device']}); held: {about.held}")
        if axis is not None:
            span = f"{axis.releases[0].version} to {axis.releases[-1].version}"
            self.say(f"{len(axis.releases)} releases of {axis.package}, {span}")
        result = Result()
        with Prober(subject, run, store, fresh=options.fresh) as prober:
            try:
                self._search(result, axis, asking, prober, run)
            except (NoEnds, NoCommit) as refusal:
                result.refusals.append(str(refusal))
            if (cell := failing_cell(result)) is not None:
                about = replace(about, failing=cell_and_matrix(cell, prober.locks, run.folder))
        self.say("")
        for line in answer_lines(result):
            self.say(line)
        self.say("Reproduce with:")
        for line in reproduce_lines(about):
            self.say(f"    {line}")
        for path in write_report(run.folder, about, result, asking.steps):
            self.say(f"wrote {path}")
        return result

    def _search(self, result: Result, axis: Axis | None, asking: Asking, prober: Prober, run: Run) -> None:
        options = self.options
        if axis is None:
            assert self.good_cell is not None  # noqa: S101 - _axis_name saw to it
            assert self.bad_cell is not None  # noqa: S101 - _axis_name saw to it
            good, bad = self.good_cell, self.bad_cell
            result.corners = search_corners(good, bad, asking, prober, any_failure=options.any_failure)
            if not options.corners and result.corners.conditions.needed:
                result.corners, result.axes = bisect_corners(
                    result.corners, good, bad, candidates=self._candidates, asking=asking, prober=prober
                )
            return
        found = search_axis(axis, self.wanted, asking, prober)
        result.axes.append(found)
        if options.repo is not None:
            result.commit = self._commit(found, options.repo, asking, prober, run)

    def _wanted(self) -> Wanted:
        options = self.options
        find = {"bad": Find.FIRST_BAD, "fixed": Find.FIRST_FIXED, None: None}[options.find]
        good, bad = (
            cell.pins.get(self.axis or "") if cell else given
            for cell, given in ((self.good_cell, options.good), (self.bad_cell, options.bad))
        )
        if options.metric is None or self.axis is None:
            return Wanted(good=good, bad=bad, find=find, any_failure=options.any_failure)
        if good is None or bad is None:
            message = "--metric compares with the good end: give --good and --bad"
            raise UsageError(message)
        metric, worse_by = options.metric, options.worse_by
        return Wanted(good=good, bad=bad, make_rule=lambda _bad, record: make_rule(metric, worse_by, record))

    def _commit(self, found: Found, repo: str, asking: Asking, prober: Prober, run: Run) -> Any:
        change, options = found.finding.change, self.options
        if change is None or found.rule is None:
            return None
        repository = Repository(repo)
        given = {"good": options.good_commit, "bad": options.bad_commit}
        old, new = (
            repository.resolve(name)
            if (name := given[str(answer)])
            else repository.commit_of(found.axis.package, found.axis.releases[index].version)
            for index, answer in ((change.left, found.ends.find.old), (change.right, found.ends.find.new))
        )
        search = CommitSearch(
            repository, found.axis.package, found.axis.cells[change.right],
            rule=found.rule, asking=asking, prober=prober,
        )  # fmt: skip
        self.say(f"{repository.between(old, new)} commits from {old[:12]} to {new[:12]} in {repo}")
        return search.run(old, new, found.ends.find, run.folder, first_parent=options.first_parent)

    def _tell(self, step: Step) -> None:
        self.number += 1
        self.say(step_line(self.number, step, self.options.metric))

    def _on_device(self) -> dict[str, str]:
        return with_defaults(self.variant, concrete_device(self.options.device))

    def _cell_of(self, given: str | None) -> Cell | None:
        """Read ``PACKAGE=V,...`` or the beginning of a cell's id; None for a plain version."""
        if given is None or not any(sign in given for sign in "=-"):
            return None
        if "=" in given:
            pins = dict(one.split("=", 1) for one in given.split(",") if "=" in one)
            return Cell(
                python=self.options.python, pins=_ordered({**self._default_pins(), **pins}), as_of=self.options.as_of
            )
        return find_cell(load_matrix(self.options.matrix), given)

    def _axis_name(self) -> str | None:
        options = self.options
        if self.good_cell and self.bad_cell:
            packages = which_packages(self.good_cell, self.bad_cell)
            if not packages:
                message = "--good and --bad are the same cell"
                raise UsageError(message)
            if len(packages) > _MOST_CORNERS:
                message = f"the cells differ in {', '.join(packages)}; make them differ in {_MOST_CORNERS} at most"
                raise UsageError(message)
            if len(packages) > 1 or options.corners:
                return None
            return packages[0]
        if options.corners:
            message = "--corners compares two cells: give --good PACKAGE=V,... --bad PACKAGE=V,..."
            raise UsageError(message)
        return options.axis or default_axis(options.pins)

    def _default_pins(self) -> dict[str, str]:
        documented = load_matrix(_DOCUMENTED).cells[-1]
        return {"torch": documented.pins["torch"], **self.options.pins}

    def _held(self) -> Cell:
        options = self.options
        if self.bad_cell:
            return self.bad_cell
        base = find_cell(load_matrix(options.matrix), options.base_cell) if options.base_cell else None
        pins = {**(base.pins if base else self._default_pins()), **options.pins}
        needed = [one.name for one in TABLE if one.module in self.case.needs]
        for name in (*WINDOW_AXES, *needed):
            if name not in pins and name != self.axis:
                pins[name] = NEWEST if options.as_of_axis or options.as_of else releases_of(name)[-1].version
        pins.pop(self.axis or "", None)
        as_of = options.as_of or (base.as_of if base else None)
        return Cell(python=base.python if base else options.python, pins=_ordered(pins), as_of=as_of)

    def _make_axis(self, held: Cell) -> Axis:
        assert self.axis is not None  # noqa: S101 - the caller asked
        axis = make_axis(self.axis, self._candidates(self.axis), held, follow_dates=self.options.as_of_axis)
        for version in filter(None, (self.wanted.good, self.wanted.bad)):
            # What is no candidate is refused before anything is measured.
            axis.index(version)
        return axis

    def _candidates(self, package: str) -> tuple[Release, ...]:
        options = self.options
        given = {self.wanted.good, self.wanted.bad}
        given |= {cell.pins.get(package) for cell in (self.good_cell, self.bad_cell) if cell}
        releases = tuple(
            one
            for one in releases_of(package)
            if Version(one.version) >= oldest_measured(package) or one.version in given
        )
        if options.from_matrix:
            versions = {cell.pins.get(package) for cell in load_matrix(options.from_matrix).cells}
            releases = tuple(one for one in releases if one.version in versions)
        if options.minors:
            minors = set(last_patches(releases))
            releases = tuple(one for one in releases if one in minors or one.version in given)
        if len(releases) < 2:  # noqa: PLR2004 - a search has two ends
            message = f"{len(releases)} candidates for {package}: a search needs two at least"
            raise UsageError(message)
        return releases

    def _run_id(self, held: Cell) -> str:
        """Name the run by the question, so that the same question finds its own journal."""
        about = asdict(self.options)
        for name in ("fresh", "command", "repo", "first_parent", "good_commit", "bad_commit"):
            del about[name]
        about |= {"case": project_code().of_case(self.case), "variant": self._on_device(), "held": held.id}
        about |= {"harness": project_code().of_runtime()}
        digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:10]
        return f"bisect-{self.case.name}-{self.axis or 'corners'}-{digest}"


def check_packages(options: Options) -> None:
    """Raise :class:`UsageError` when ``--axis`` or ``--pin`` names no package that a cell can pin."""
    for option, names in (("--axis", [options.axis] if options.axis else []), ("--pin", options.pins)):
        for name in names:
            if name not in PACKAGES:
                message = f"{option} {name}: no cell pins that; {nearest(name, PACKAGES)}"
                raise UsageError(message)


def default_axis(pins: Mapping[str, str]) -> str:
    """Return the package whose releases are searched when nobody says: transformers, or peft where that is held.

    Raises :class:`UsageError` when both are held.
    """
    for package in ("transformers", "peft"):
        if package not in pins:
            return package
    message = "transformers and peft are both held: give --axis PACKAGE, or leave one of them out"
    raise UsageError(message)


def choose_variant(options: Options) -> tuple[Case, dict[str, str], int]:
    """Return the first variant that ``--case``, ``--variant`` and ``--where`` select, and how many they do.

    Raises :class:`UsageError` when there is none, or when ``--where`` bounds a version: the axis and the pins do that.
    """
    chosen = select_variants(load_cases(), options.case)
    if options.variant is not None:
        names = [variant_id(variant) for _, variant in chosen]
        if options.variant not in names:
            message = f"{options.case} has no variant {options.variant!r}; {nearest(options.variant, names)}"
            raise UsageError(message)
        chosen = [(case, variant) for case, variant in chosen if variant_id(variant) == options.variant]
    where = parse_where(options.where, {axis for _, variant in chosen for axis in variant})
    if where.versions:
        message = (
            f"--where {options.where!r} bounds {', '.join(where.versions)}; here versions are given by --axis and --pin"
        )
        raise UsageError(message)
    fitting = [(case, variant) for case, variant in chosen if where.fits(variant)]
    if not fitting:
        known = sorted({f"{axis}={value}" for _, variant in chosen for axis, value in variant.items()})
        message = f"no variant of {options.case} has {options.where}; there are {', '.join(known)}"
        raise UsageError(message)
    case, variant = fitting[0]
    return case, variant, len(fitting)


@cache
def releases_of(package: str) -> tuple[Release, ...]:
    """List the releases of a package, asking the index once."""
    return list_releases(package, wheels_alone=False)


@cache
def oldest_measured(package: str) -> Version:
    """Return the oldest release of a package that a matrix pins; the cases were never asked of older ones.

    A package that no matrix pins gets ``0``.
    """
    cells = (cell for path in MATRICES.glob("*.toml") for cell in load_matrix(path.stem).cells)
    pins = (cell.pins[package] for cell in cells if package in cell.pins)
    return min((Version(pin) for pin in pins if _is_version(pin)), default=Version("0"))


def _is_version(pin: str) -> bool:
    try:
        Version(pin)
    except InvalidVersion:
        return False
    return True


def _ordered(pins: Mapping[str, str]) -> dict[str, str]:
    return {name: pins[name] for name in PACKAGES if name in pins}


def _words(held: Cell, axis: str | None) -> str:
    pins = [f"{name} {version}" for name, version in held.pins.items() if name != axis]
    dated = [f"as of {held.as_of}"] if held.as_of else []
    return ", ".join([*pins, f"python {held.python}", *dated])
