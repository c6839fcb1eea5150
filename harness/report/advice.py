"""Advice in sentences: the answer in the first line, then ranges, then what it rests on, in at most 12 lines."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from harness.explain.advice import Evidence, pip_command
from harness.explain.uses import COMMON_FAMILIES, COMMON_METHODS, DEFAULT, USES, like, spoken
from harness.judge.defects import Status
from harness.program import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.version import Version

    from harness.explain.advice import Advice, Failing, Fault, Point, Range, Subject
    from harness.judge.defects import Defect

WIDTH = 100
MOST_LINES = 12
_FAULTS = 3
_ALSO = 3
_WORDS = 70
_WAY_ROUND = 150
_PAIRS = 2
"""Pairs that a sentence has room for."""

_FAILS = {
    "wrong": "is silently wrong", "error": "raises", "crashed": "crashes", "timeout": "hangs",
    "out-of-memory": "runs out of memory", "import-failed": "cannot be imported",
    "install-failed": "cannot be installed", "unsatisfiable": "cannot be resolved",
}  # fmt: skip


class Wording:
    """Tells one advice. ``defects`` are the known ones, ``origin`` says where the records are from."""

    def __init__(self, advice: Advice, defects: Mapping[str, Defect], origin: str) -> None:
        self.advice, self.defects, self.origin = advice, defects, origin
        self.question = advice.question
        self.packages = self.question.use.packages

    def lines(self) -> list[str]:
        """Return the answer: at most 12 lines of at most 100 columns, as long as no single word is longer."""
        first, *second = [self.headline(), *self.second()]
        last = [*self.rests_on(), *self.pip()]
        # What has no room is left out, the least telling first: old faults, then what is beside the answer.
        optional = [*second, *self.exceptions(), *self.also(), *self.older_faults()]
        room = MOST_LINES - sum(len(wrap(text)) for text in (first, *last))
        told = []
        for text in optional:
            if len(wrap(text)) <= room:
                told.append(text)
                room -= len(wrap(text))
        return [line for text in (first, *told, *last) for line in wrap(text)]

    def summary(self, newest: Point) -> list[str]:
        """Return how things stand on one screen: the newest releases, each common method, and what to ask."""
        advice = self.advice
        failing = advice.failing_at([newest])
        works = advice.evidence(newest) is Evidence.WORKS
        state = "works" if works or not failing else self._what(self._worst_of(failing).fault)
        lines = [f"The newest releases measured, {self.pair(newest)}: {self.subject()} {state}."]
        lines += [] if works or not failing else [f"The cause: {self._cause(self._worst_of(failing).fault)}."]
        lines.append("The newest ranges that work, with generate as most people call it (older pairs: --peft 0.16.0):")
        width = max(len(spoken(method)) for method in COMMON_METHODS)
        for method in COMMON_METHODS:
            alone = Wording(advice.alone(one for one in advice.subjects if one.method == method), self.defects, "")
            found = alone.advice.ranges
            lines.append(f"  {spoken(method):<{width}}  {self.range(found[0]) if found else alone.headline()}")
        live = sum(one.kept is not None and one.kept.status is Status.LIVE for one in self.defects.values())
        lines += [
            f"{live} defects are live in them: {PROGRAM} cases defects --live",
            f"Your versions: {PROGRAM} advise --peft 0.16.0 --transformers 4.56",
            f"Those of an environment, a requirements or a lock file: {PROGRAM} advise --installed [FILE]",
            f"Your use: --method prefix_tuning --model qwen2 --use {DEFAULT}, or another:",
            f"  {', '.join(list(USES)[1:])}",
        ]
        return [line for text in lines for line in wrap(text)]

    @staticmethod
    def _worst_of(failing: Sequence[Failing]) -> Failing:
        return min(failing, key=lambda one: (one.fault.outcome != "wrong", -len(one.subjects)))

    @staticmethod
    def _what(fault: Fault) -> str:
        return _FAILS.get(fault.outcome, fault.outcome)

    def brief(self) -> str:
        """Return the answer without what is asked: a range that works, else the defects that are met."""
        if self.advice.ranges:
            return f"{self.range(self.advice.ranges[0])}{self._attached(self.advice.ranges[0])}{self._until()}"
        names = dict.fromkeys(self.name(one.fault) for one in self._main_faults())
        return f"no pair passes all of it: {', '.join(names)}"

    def pair_lines(self, point: Point, where: str) -> list[str]:
        """Return the answer for one pair: is it safe, what fails, and the pin that mends it."""
        advice, pair = self.advice, self.pair(point)
        evidence = advice.evidence(point)
        lines = []
        match evidence:
            case Evidence.WORKS:
                lines.append(f"Safe: {self.subject()} works with {pair}.")
            case Evidence.WORKS_NEARBY:
                lines.append(f"Probably safe: {pair} were not measured, other patches of them work.")
            case Evidence.FAILS | Evidence.FAILS_NEARBY:
                beside = evidence is Evidence.FAILS_NEARBY
                failing = advice.failing_at(advice.beside(point) if beside else [point])
                lines += self._unsafe(point, failing, measured=not beside)
            case None:
                lines.append(f"Not known: {pair} was not measured, and nothing near it.")
        if evidence in {None, Evidence.FAILS, Evidence.FAILS_NEARBY} and (nearest := advice.nearest):
            pins = [
                f"{package}=={version}"
                for package, version, here in zip(self.packages, nearest, point, strict=True)
                if version != here
            ]
            lines.append(f"Pin {' and '.join(pins)}: the nearest that was measured and works.")
        day = advice.table.newest[:10]
        lines.append(
            f"Asked: {where}. Measured with torch {self._torch(point)}; newest record: {day}, from {self.origin}."
        )
        return [line for text in lines for line in wrap(text)][:MOST_LINES]

    def _unsafe(self, point: Point, failing: Sequence[Failing], *, measured: bool) -> list[str]:
        methods = {one.method for one in self.advice.subjects}
        hit = {one.method for found in failing for one in found.subjects} or methods
        what = self._what(self._worst_of(failing).fault)
        names = _listed_words([spoken(one) for one in sorted(hit)])
        subject = self.subject() if hit == methods else names
        if measured:
            first = f"Not safe: {subject} {what} with {self.pair(point)}."
        else:
            first = f"Probably not safe: {subject} {what} with the patches beside {self.pair(point)}."
        causes = dict.fromkeys(f"The cause: {self._cause(one.fault)}." for one in failing)
        return [first, *list(causes)[:_FAULTS]]

    def _torch(self, point: Point) -> str:
        facts = self.advice.table.facts.get(point) or next(iter(self.advice.table.facts.values()))
        return facts.packages.get("torch", "?").partition("+")[0]

    def subject(self) -> str:
        """Return what is asked about in words: ``prefix tuning on Qwen2``."""
        method = spoken(self.question.method) if self.question.method else "prompt learning"
        place = f" on {spoken(self.question.place)}" if self.question.place else ""
        return f"{method}{place}{self.purpose()}"

    def purpose(self) -> str:
        """Return what for, where it is not what most people do."""
        use = self.question.use
        return f" {use.words}" if use.words else ""

    def headline(self) -> str:
        """Return the answer in a sentence."""
        advice = self.advice
        if advice.ranges:
            first = advice.ranges[0]
            if not advice.own:
                return self._nearby_headline(first)
            if self._is_asked_pair(first):
                return f"Yes: {self.subject()} works with {self.pair(first.newest)}{self._attached(first)}."
            return f"Use {self.range(first)}{self._attached(first)}{self._until()}."
        if advice.own:
            return self._no_headline()
        if advice.failing:
            failing = advice.failing[0]
            return f"No: {self.pair(failing.points[0])} {self.fails(failing.fault)}."
        return f"Nothing was measured of {self.subject()}{self._bounds()}."

    def _until(self) -> str:
        """Return what comes above the first range, in a clause."""
        failing = self.advice.beyond
        if failing is None:
            return ""
        return f"; from {self._first_above(failing)} on it {self._what(failing.fault)}"

    def _first_above(self, failing: Failing) -> Version:
        return min(point[self.packages.index("transformers")] for point in failing.points)

    def _nearby_headline(self, first: Range) -> str:
        around = self._around()
        stands_in = self._stands_in()
        if around and not any(self.advice.evidence(point) is Evidence.WORKS for point in around):
            failing = self.advice.elsewhere.failing_at(around)
            fails = self.fails(failing[0].fault)
            return f"Probably not: {self.subject()} was not measured{self._bounds()}, and {fails} next to it."
        return f"Use {self.range(first)}, as measured on {stands_in}, not on {self._itself()} itself."

    def _no_headline(self) -> str:
        works, fails = self.advice.split
        if self.question.use.may_choose and works and len({one.method for one in works}) > 1:
            return f"No versions{self._bounds()} suit every method {self.question.use.words}; ask about each."
        if self.question.use.may_choose:
            return f"No: {self.subject()} fails{self._bounds()} in all {len(fails)} ways."
        if works and fails and len({one.method for one in (*works, *fails)}) == 1 and not self.question.place:
            return f"{self.subject().capitalize()}{self._bounds()} works on {_named(works)}, not on {_named(fails)}."
        worst = max(self._main_faults(), key=lambda one: len(one.points))
        everywhere = len(worst.points) == len(self.advice.own) > 1
        pairs = f" in all {len(worst.points)} pairs measured" if everywhere else ""
        what = self._what(worst.fault)
        return f"No: {self.subject()}{self._bounds()} {what}{pairs}."

    def second(self) -> list[str]:
        """Return what follows the answer: what fails beside it, and the way round."""
        advice = self.advice
        lines = []
        if advice.ranges and not advice.own:
            around = self._around()
            works = [point for point in around if advice.elsewhere.evidence(point) is Evidence.WORKS]
            if works:
                pairs = ", and with ".join(map(self.pair, works[:_PAIRS]))
                lines.append(f"{self._itself()} itself passes next to it: with {pairs}. --measure asks it there, now.")
            else:
                lines.append("--measure asks it there, now.")
        if advice.beyond:
            lines.append(self._beyond(advice.beyond))
        if not advice.ranges and advice.own:
            lines += self._instead()
        return lines

    def _beyond(self, failing: Failing) -> str:
        return f"From transformers {self._first_above(failing)} on: {self._cause(failing.fault)}."

    def _instead(self) -> list[str]:
        """Return what to do where no versions within the bounds suit all that is asked for."""
        advice, lines = self.advice, []
        works, _ = advice.split
        # Where a person may choose how to attach a method, the methods are told apart, elsewhere the families.
        by_method = self.question.use.may_choose
        groups: dict[str, set[str]] = defaultdict(set)
        for name in dict.fromkeys(one.method if by_method else one.place for one in works):
            alone = advice.alone(one for one in works if name in one)
            if alone.ranges:
                told = Wording(alone, self.defects, self.origin)
                groups[self.range(alone.ranges[0]) + told._attached(alone.ranges[0])].add(name)
        for words, names in sorted(groups.items(), key=lambda item: -len(item[1]))[: _PAIRS + by_method]:
            lines.append(f"{_listed(names)}: use {words}.")
        if not works and advice.nearest is not None:
            lines.append(f"The nearest that works: {self.pair(advice.nearest)}{self._attached_at(advice.nearest)}.")
        faults = self._main_faults()
        if len(faults) == 1:
            return [*lines, f"The cause: {self._cause(faults[0].fault)}."]
        return [*lines, *map(self._told, faults)]

    def _main_faults(self) -> list[Failing]:
        """Return how it fails within the bounds: silent faults first, then what is met at most pairs."""
        _, fails = self.advice.split
        failing = self.advice.failing_at(self.advice.own, fails or self.advice.subjects)
        return sorted(failing, key=lambda one: (one.fault.outcome != "wrong", -len(one.points)))[:_FAULTS]

    def also(self) -> list[str]:
        """Return the other ranges that work."""
        ranges = self.advice.ranges[1:]
        if not ranges:
            return []
        more = f"; and {len(ranges) - _ALSO} more" if len(ranges) > _ALSO else ""
        return [f"Also: {'; '.join(map(self.range, ranges[:_ALSO]))}{more}."]

    def exceptions(self) -> list[str]:
        """Return where families or methods that nobody named differ within the first range."""
        advice = self.advice
        if not advice.ranges or not advice.own or self.question.use.may_choose:
            return []
        inside = [point for point in advice.own if advice.ranges[0].holds(point)]
        inside += [point for point in advice.table.points if advice.ranges[0].holds(point) and point not in inside]
        never, partly = defaultdict(set), defaultdict(set)
        for subject in advice.others:
            found = [one for point in inside for _, one in advice.found(point, [subject])]
            faults = {fault for one in found for fault in one.faults}
            slug = self.name(min(faults)) if faults else ""
            if found and not any(one.works for one in found):
                never[slug].add(subject.place)
            elif faults:
                partly[slug].add(subject.place)
        nowhere = set().union(*never.values())
        elsewhere = sorted((slug, who - nowhere) for slug, who in partly.items() if who - nowhere)
        lines = []
        if never:
            lines.append("Not on " + ", ".join(f"{_listed(who)} ({slug})" for slug, who in sorted(never.items())) + ".")
        if elsewhere:
            words = ", ".join(f"{_listed(who)} ({slug})" for slug, who in elsewhere[:_PAIRS])
            lines.append(f"Not everywhere in that range on {words}.")
        return lines

    def older_faults(self) -> list[str]:
        """Return how it fails elsewhere within the bounds, the newest first."""
        advice = self.advice
        if not advice.ranges:
            return []
        told = self.name(advice.beyond.fault) if advice.beyond else ""
        # That a release of peft cannot be imported matters to who is bound to it.
        bound = bool(self.question.versions)
        failing = [one for one in advice.failing if self.name(one.fault) != told and (one.subjects or bound)]
        return [self._told(one) for one in failing][:_FAULTS]

    def _told(self, failing: Failing) -> str:
        whole = {one.place for one in (*self.advice.subjects, *self.advice.others)}
        some = {one.place for one in failing.subjects}
        on = f" on {_listed(some)}" if some and some < whole and not self.question.place else ""
        where = f" with {self.pair(failing.points[0])}"
        if len(failing.points) > 1:
            where = f" in {len(failing.points)} pairs, the newest {self.pair(failing.points[0])}"
        if self.question.use.may_choose:
            where = ""
        what = self._what(failing.fault).removeprefix("is ")
        return f"{what.capitalize()}{on}{where}: {self._cause(failing.fault)}."

    def rests_on(self) -> list[str]:
        """Return what was measured: how many pairs on which families, and when."""
        advice = self.advice
        counts: dict[int, set[str]] = defaultdict(set)
        for place in {one.place for one in advice.subjects}:
            mine = [one for one in advice.subjects if one.place == place]
            counts[sum(bool(advice.found(point, mine)) for point in advice.own)].add(place)
        parts = [
            f"{_listed(places)} in {_pairs(count)}" for count, places in sorted(counts.items(), reverse=True) if count
        ]
        if advice.ranges and advice.ranges[0].nearby:
            first = advice.ranges[0]
            there = f", {first.own} of them in that range" if first.own else ""
            more = " more of it" if parts else " pairs"
            parts = [*(f"{part}{there}" for part in parts), f"{self._stands_in()} in {first.nearby}{more}"]
        if not parts:
            return []
        day = advice.table.newest[:10]
        if self.question.use.may_choose:
            parts = [f"{_pairs(len(advice.own))}"]
        return [f"Measured: {'; '.join(parts)}. Newest record: {day}, from {self.origin}."]

    def pip(self) -> list[str]:
        """Return the command that installs the newest measured pair of the first range."""
        advice = self.advice
        point = advice.ranges[0].newest if advice.ranges else None if advice.split[0] else advice.nearest
        if point is None:
            return []
        return [pip_command(advice.table.facts[point], (*self.packages, "torch"))]

    def _itself(self) -> str:
        if self.question.place:
            return spoken(self.question.place)
        return _listed({one.place for one in self.advice.subjects} or COMMON_FAMILIES)

    def _stands_in(self) -> str:
        return _listed({like(one.place) for one in self.advice.subjects})

    def _around(self) -> list[Point]:
        found = [
            point
            for package in self.question.versions
            if package in self.packages
            for point in self.advice.around(package)
        ]
        return list(dict.fromkeys(found))

    def _is_asked_pair(self, one: Range) -> bool:
        bounded = all(package in self.question.versions for package in self.packages)
        return bounded and all(low == high for low, high in one.ends)

    def _bounds(self) -> str:
        bounds = [f"{package} {_spec(spec)}" for package, spec in self.question.versions.items()]
        return f" with {' and '.join(bounds)}" if bounds else ""

    def _attached(self, one: Range) -> str:
        return self._attached_at(one.newest)

    def _attached_at(self, point: Point) -> str:
        if not self.question.use.may_choose:
            return ""
        ways = sorted({one.place for one, found in self.advice.elsewhere.found(point) if found.works})
        return f", attached by {' or '.join(map(spoken, ways))}" if ways else ""

    def pair(self, point: Point) -> str:
        """Return a pair in words: ``peft 0.21.2 with transformers 5.23.0``."""
        return _listed_words([f"{package} {version}" for package, version in zip(self.packages, point, strict=True)])

    def range(self, one: Range) -> str:
        """Return a range in words, what is bounded to a single release last."""
        words = {
            package: f"{package} {low}" if low == high else f"{package} {low} to {high}"
            for package, (low, high) in zip(self.packages, one.ends, strict=True)
        }
        fixed = [
            package
            for package, (low, high) in zip(self.packages, one.ends, strict=True)
            if package in self.question.versions and low == high
        ]
        free = [package for package in self.packages if package not in fixed]
        return _joined([words[package] for package in (*free, *fixed)])

    def fails(self, fault: Fault) -> str:
        """Return a fault as what a sentence says of something: ``is silently wrong (SLUG)``."""
        return f"{self._what(fault)} ({self.name(fault)})"

    def name(self, fault: Fault) -> str:
        """Return the defect behind a fault with its status, else the words of the failure."""
        return fault.defect or textwrap.shorten(fault.words, _WORDS)

    def _cause(self, fault: Fault) -> str:
        """Return the defect with what became of it and the way round, else the words of the failure."""
        defect = self.defects.get(fault.defect)
        if defect is None:
            return self.name(fault)
        status = str(defect.kept.status) if defect.kept else "not measured"
        told = defect.words if status == Status.LIVE else status
        return f"{defect.id} ({told}). Way round: {textwrap.shorten(defect.way_round, _WAY_ROUND)}"


def wrap(text: str) -> list[str]:
    """Break a text into lines; what follows the first is indented."""
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def as_data(advice: Advice, origin: str) -> dict[str, Any]:
    """Return the answer for other programs."""
    packages = advice.question.use.packages

    def pair(point: Point) -> dict[str, str]:
        return dict(zip(packages, map(str, point), strict=True))

    return {
        "origin": origin,
        "use": advice.question.use.name,
        "works": bool(advice.ranges),
        "measured_on_what_is_asked": bool(advice.own),
        "ranges": [
            {
                "versions": {
                    package: {"from": str(low), "to": str(high)}
                    for package, (low, high) in zip(packages, one.ends, strict=True)
                },
                "pairs": one.own,
                "pairs_on_another_family": one.nearby,
                "newest": pair(one.newest),
                "pip": pip_command(advice.table.facts[one.newest]),
            }
            for one in advice.ranges
        ],
        "failing": [
            {
                "outcome": one.fault.outcome,
                "defect": one.fault.defect or None,
                "words": one.fault.words,
                "on": sorted({f"{subject.method}:{subject.place}" for subject in one.subjects}),
                "pairs": [pair(point) for point in one.points],
            }
            for one in advice.failing
        ],
        "nearest": (advice.nearest and not advice.ranges and pair(advice.nearest)) or None,
    }


def _joined(parts: Sequence[str]) -> str:
    first, *rest = parts
    return f"{first} with {_listed_words(rest)}" if rest else first


def _listed_words(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _pairs(count: int) -> str:
    return "one pair" if count == 1 else f"{count} pairs"


def _named(subjects: Iterable[Subject]) -> str:
    return _listed({one.place for one in subjects})


def _listed(places: Iterable[str]) -> str:
    """Name families, those that most people use first."""
    wanted = set(places)
    return _listed_words(
        [spoken(one) for one in (*COMMON_FAMILIES, *sorted(wanted - {*COMMON_FAMILIES})) if one in wanted]
    )


def _spec(spec: str) -> str:
    return spec.removeprefix("==").removesuffix(".*")
