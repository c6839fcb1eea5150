"""The learner: exact on what was measured, never larger than what brute force finds, and it finds planted rules."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.explain import learn
from harness.explain.learn import explain
from harness.explain.table import PASSED, Label
from harness.judge.boxes import Box, Point, TooLarge, conditions, contains, largest_boxes, weight
from harness.judge.cover import smallest_cover
from tests.planted import boxes, shapes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WRONG, ERROR = Label(outcome="wrong"), Label(outcome="error")


def points_of(shape: Sequence[int]) -> list[Point]:
    """List every point of a grid."""
    return list(itertools.product(*map(range, shape)))


def boxes_of(shape: Sequence[int]) -> list[Box]:
    """List every box of a grid."""
    spans = [[(low, high) for low in range(size) for high in range(low, size)] for size in shape]
    return list(itertools.product(*spans))


@st.composite
def labelled(
    draw: st.DrawFn, labels: Sequence[Label | None] = (PASSED, WRONG, ERROR, None), size: int = 4
) -> tuple[tuple[int, ...], dict[Point, Label]]:
    """Draw a small grid with labels; None is a combination that was not measured."""
    shape = draw(shapes(size=size))
    drawn = {point: draw(st.sampled_from(labels)) for point in points_of(shape)}
    return shape, {point: label for point, label in drawn.items() if label is not None}


def brute_force(shape: Sequence[int], labels: Mapping[Point, Label], label: Label) -> tuple[int, int]:
    """Return the fewest boxes for a label and then the fewest conditions, by trying all sets of all boxes."""
    inside = {point for point, one in labels.items() if one == label}
    fitting = [
        (held, conditions(box, shape))
        for box in boxes_of(shape)
        if (held := {point for point in labels if contains(box, point)}) and held <= inside
    ]
    for count in range(1, len(inside) + 1):
        costs = [
            sum(cost for _, cost in chosen)
            for chosen in itertools.combinations(fitting, count)
            if set().union(*(held for held, _ in chosen)) == inside
        ]
        if costs:
            return count, min(costs)
    return 0, 0


@given(labelled())
def test_largest_boxes_are_those_of_brute_force(grid: tuple[tuple[int, ...], dict[Point, Label]]) -> None:
    """Nothing foreign in any, each holds a point, none can grow, and none is missing."""
    shape, labels = grid
    inside = [point for point, label in labels.items() if label == WRONG]
    outside = [point for point, label in labels.items() if label != WRONG]
    pure = [box for box in boxes_of(shape) if not any(contains(box, point) for point in outside)]

    def within(one: Box, other: Box) -> bool:
        return all(a >= c and b <= d for (a, b), (c, d) in zip(one, other, strict=True))

    expected = [
        box
        for box in pure
        if any(contains(box, point) for point in inside)
        and not any(within(box, other) and box != other for other in pure)
    ]
    assert sorted(expected) == largest_boxes(shape, inside, outside)


@given(st.lists(st.tuples(st.integers(1, 255), st.integers(0, 4)), min_size=1, max_size=9))
@settings(max_examples=300, deadline=None)
def test_the_smallest_cover_is_that_of_brute_force(columns: list[tuple[int, int]]) -> None:
    """Fewest sets first, then the least weight."""
    masks, weights = [mask for mask, _ in columns], [one for _, one in columns]
    universe = set().union(*({bit for bit in range(8) if mask >> bit & 1} for mask in masks))

    def covers(chosen: Sequence[int]) -> bool:
        return {bit for column in chosen for bit in range(8) if masks[column] >> bit & 1} == universe

    everything = itertools.chain.from_iterable(
        itertools.combinations(range(len(masks)), count) for count in range(len(masks) + 1)
    )
    best = min((len(chosen), sum(weights[one] for one in chosen)) for chosen in everything if covers(chosen))
    cover = smallest_cover(masks, weights)
    assert cover.proven
    assert covers(cover.columns)
    assert best == (len(cover.columns), sum(weights[one] for one in cover.columns))


@given(labelled(size=3))
@settings(max_examples=150, deadline=None)
def test_windows_are_as_few_and_as_plain_as_brute_force_finds(
    grid: tuple[tuple[int, ...], dict[Point, Label]],
) -> None:
    """For every label: the number of windows, and then the number of conditions."""
    shape, labels = grid
    explanation = explain(shape, labels)
    assert explanation.proven
    for label in (WRONG, ERROR):
        found = [window.reach for window in explanation.windows if window.label == label]
        if len(found) <= 3:
            assert brute_force(shape, labels, label) == (len(found), sum(conditions(box, shape) for box in found))


@given(labelled())
def test_windows_are_exact_on_what_was_measured(grid: tuple[tuple[int, ...], dict[Point, Label]]) -> None:
    """Every measured point is predicted as it was measured, and windows of two labels share none."""
    shape, labels = grid
    explanation = explain(shape, labels)
    assert labels == {point: explanation.predict(point) for point in labels}
    for window in explanation.windows:
        held = {point for point in labels if contains(window.box, point)}
        assert {labels[point] for point in held} == {window.label}
        assert held == set(window.points)
        # Drawing the ends in makes no condition of what was none.
        assert conditions(window.box, shape) == conditions(window.reach, shape)
        for other in window.alternatives:
            assert {labels[point] for point in labels if contains(other, point)} == {window.label}


@given(labelled(), st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter(grid: tuple[tuple[int, ...], dict[Point, Label]], random: object) -> None:
    """Equal measurements have equal explanations."""
    shape, labels = grid
    shuffled = list(labels.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert explain(shape, labels) == explain(shape, dict(shuffled))


@st.composite
def planted_rules(draw: st.DrawFn) -> tuple[tuple[int, int], list[Box]]:
    """Draw a grid of two packages, and a rule: a box, or the union of two or three."""
    shape = (draw(st.integers(2, 18)), draw(st.integers(2, 24)))
    return shape, draw(st.lists(boxes(shape), min_size=1, max_size=3))


def measured(shape: Sequence[int], rule: Sequence[Box]) -> dict[Point, Label]:
    """Measure a rule on the full grid."""
    return {point: WRONG if any(contains(box, point) for box in rule) else PASSED for point in points_of(shape)}


@given(planted_rules())
@settings(max_examples=1000, deadline=None)
def test_a_planted_rule_over_two_packages_is_found_exactly(planted: tuple[tuple[int, int], list[Box]]) -> None:
    """From a full grid without noise: the same cells, in as many windows or fewer."""
    shape, rule = planted
    labels = measured(shape, rule)
    explanation = explain(shape, labels)
    found = {point for point in labels if explanation.predict(point) == WRONG}
    assert found == {point for point, label in labels.items() if label == WRONG}
    assert len(explanation.windows) <= len(rule)
    assert explanation.proven


def test_one_flipped_cell_is_not_explained_away() -> None:
    """The check can fail: a single outcome against the rule needs windows of its own."""
    shape, rule = (6, 6), [((0, 2), (3, 5))]
    labels = measured(shape, rule)
    assert [window.box for window in explain(shape, labels).windows] == rule
    labels[1, 4] = PASSED
    assert len(explain(shape, labels).windows) == 4
    labels[1, 4] = ERROR
    assert {window.label for window in explain(shape, labels).windows} == {WRONG, ERROR}


def test_what_is_too_large_is_still_exact_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the list of all largest boxes the windows cover everything, without the proof."""
    shape, rule = (8, 8), [((0, 2), (3, 5)), ((2, 6), (0, 3))]
    labels = measured(shape, rule)
    assert explain(shape, labels).proven

    def refuse(*_: object, **__: object) -> list[Box]:
        raise TooLarge

    monkeypatch.setattr(learn, "largest_boxes", refuse)
    explanation = explain(shape, labels)
    assert not explanation.proven
    assert labels == {point: explanation.predict(point) for point in labels}


def test_the_limits_are_kept() -> None:
    """Too many boxes are refused; too many branches end with a cover that is not called the smallest."""
    everything = points_of((5, 5))
    with pytest.raises(TooLarge):
        largest_boxes((5, 5), everything[::2], everything[1::2], limit=3)
    masks = [0b0111, 0b1110, 0b1011, 0b1101, 0b0011, 0b1100]
    cut = smallest_cover(masks, [1] * 6, steps=0)
    assert not cut.proven
    assert masks[cut.columns[0]] | masks[cut.columns[-1]] == 0b1111


def test_a_condition_on_peft_is_plainer_than_one_on_transformers() -> None:
    """Where two packages moved together, the first one is named; one condition beats two."""
    assert weight(((0, 1), (0, 4)), (5, 5)) < weight(((0, 4), (0, 1)), (5, 5)) < weight(((1, 1), (0, 4)), (5, 5))
    diagonal: dict[Point, Label] = {(step, step): WRONG if step < 2 else PASSED for step in range(4)}
    (window,) = explain((4, 4), diagonal).windows
    assert window.box == ((0, 1), (0, 3))
    assert ((0, 3), (0, 1)) in window.alternatives
