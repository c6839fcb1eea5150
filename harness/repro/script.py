"""Write the script: metadata with pins, what it is about, imports, the reduced case, the verdict."""

from __future__ import annotations

import ast
import base64
import json
import lzma
import re
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

from harness.environments.resolve import name_of
from harness.errors import EnvironmentFailure
from harness.judge.defects import DEFECTS, read_defect
from harness.judge.verdicts import expectation_for
from harness.matrix.source import redact
from harness.packages import PACKAGES, TOLD_PACKAGES
from harness.paths import ROOT
from harness.repro.bundle import LAST, UNPACK, bundle
from harness.repro.scope import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.environments.resolve import Lock
    from harness.matrix.cases import Case
    from harness.matrix.expected import Expectation


WIDTH = 100
_LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 1, "pb": 1}]
"""For numbers of two bytes: their high bytes look alike, and so the file gets smaller by a fifth."""

_SHOWN = (*(name for name in PACKAGES if name in TOLD_PACKAGES), "accelerate")
_HOW = (
    "Run it with `uv run repro.py`. It exits 1 while the defect is there, 0 when it is not, and 2 when these "
    "versions or this machine cannot tell."
)
_THREAD = re.compile(r"([\w-]+/[\w.-]+)#(\d+)")


def script(case: Case, variant: Mapping[str, str], lock: Lock, python: str) -> str:
    """Write the script of one variant of a case, pinned to a lock.

    ``variant`` has device and dtype, too; ``python`` is a minor version. The text depends on
    nothing but its arguments and the sources of the case and of ``harness.cell``. Raises
    :class:`harness.errors.CaseError` when no script can be made of the case.
    """
    shown = tuple(name for name in _SHOWN if name in {name_of(pin) for pin in lock.pins})
    expected = case.summary.replace("``", "")
    reduced = bundle(case.path, variant, {"SHOWN": shown, "EXPECTED": expected})
    weights = ROOT / "cases" / "checkpoints" / reduced.weights if reduced.weights else None
    packed = _pack(weights) if weights else ""
    head = _metadata(lock, python) + _docstring(case, variant, lock, python, packed)
    standard, others = _split_imports(reduced.imports)
    text = "\n".join([head, standard, "", _environment(), others, "", tidy(reduced.body)])
    text = ruff_format(text)
    return text.rstrip("\n") + "\n" + packed + LAST


def ruff_format(text: str) -> str:
    """Format Python as ruff does, whatever configuration lies around."""
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", str(WIDTH), "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        message = f"ruff could not format the script: {done.stderr.strip()[-400:]}; is it installed? pip install ruff"
        raise EnvironmentFailure(message)
    return done.stdout


def _metadata(lock: Lock, python: str) -> str:
    """Write the inline metadata of PEP 723: every pin of the lock, those under test first."""
    # A script is for other people: credentials of a source stay here.
    named = {name_of(pin): redact(pin) for pin in lock.pins}
    first = [named[name] for name in PACKAGES if name in named]
    rest = " ".join(f"{json.dumps(pin)}," for name, pin in named.items() if name not in PACKAGES)
    lines = [f'requires-python = "=={python}.*"', "dependencies = [", *(f"    {json.dumps(pin)}," for pin in first)]
    lines += textwrap.wrap(rest, WIDTH - 6, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in ["/// script", *lines, "]", "///"])


def _docstring(case: Case, variant: Mapping[str, str], lock: Lock, python: str, packed: str) -> str:
    named = {**lock.versions, **lock.sources}
    expectation = expectation_for(case, {**lock.versions, "python": python}, variant)
    paragraphs = [
        f"Asked here of: {', '.join(f'{axis} {value}' for axis, value in variant.items())}.",
        f"With: {', '.join(f'{name} {named[name]}' for name in _SHOWN if name in named)}; Python {python}.",
        _known(expectation.outcome if expectation else "passed"),
        _HOW,
    ]
    if packed:
        paragraphs.append(
            f"The last {packed.count(chr(10))} lines ({len(packed) / 1000:.0f} kB) are the weights of the tiny model: "
            "nothing but packages is downloaded."
        )
    lines = [line for one in paragraphs for line in textwrap.wrap(one, WIDTH, break_on_hyphens=False)]
    text = "\n".join([case.summary.replace("``", ""), "", *lines, *_links(case, expectation)])
    return '"""' + text.replace("\\", "\\\\") + '\n"""\n'


def _links(case: Case, expectation: Expectation | None) -> list[str]:
    """List where this is talked about; a page of this project would help no stranger."""
    source = ast.get_docstring(ast.parse(case.path.read_text(encoding="utf-8"))) or ""
    threads = [f"https://github.com/{repository}/issues/{number}" for repository, number in _THREAD.findall(source)]
    path = DEFECTS / f"{expectation.defect}.md" if expectation and expectation.defect else None
    defect = read_defect(path) if path and path.is_file() else None
    known = [*defect.reported, *defect.fixed_by] if defect else []
    # GitHub shows a pull request under issues/ as well.
    return list(dict.fromkeys([*known, *threads]))


def _known(outcome: str) -> str:
    match outcome:
        case "passed":
            return "It is expected to hold in these versions."
        case "wrong":
            return "In these versions the code runs and the answer is wrong."
        case "error":
            return "In these versions it ends in an error."
    return f"In these versions it is expected to be: {outcome}."


def _split_imports(imports: str) -> tuple[str, str]:
    """Part imports of the standard library from those that look at the environment."""
    lines = sorted([*imports.splitlines(), "import os"], key=lambda line: (line.startswith("from"), line))
    standard = [line for line in lines if line.split()[1].partition(".")[0] in sys.stdlib_module_names]
    return "\n".join(standard), "\n".join(line for line in lines if line not in standard)


def _environment() -> str:
    """Write the settings that keep the packages quiet and off the network, as a cell has them."""
    tree = ast.parse((ROOT / "harness" / "cell" / "plugin.py").read_text(encoding="utf-8"))
    (quiet,) = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == "quiet_environment"]
    settings = [ast.literal_eval(ast.Tuple(one.args, ast.Load())) for one in walk(quiet) if isinstance(one, ast.Call)]
    words = textwrap.wrap(" ".join(f"{name}={value}" for name, value in reversed(settings)), WIDTH - 6)
    quoted = "\n".join(f'    "{line} "' for line in words)
    return f'SETTINGS = (\n{quoted}\n)\nos.environ.update(one.split("=") for one in SETTINGS.split())\n'


def _pack(weights: Path) -> str:
    """Write a file of weights as text that writes it again."""
    data = weights.read_bytes()
    packed = base64.b64encode(lzma.compress(data, format=lzma.FORMAT_XZ, filters=_LZMA)).decode()
    lines = "\n".join(packed[start : start + 120] for start in range(0, len(packed), 120))
    return UNPACK.format(size=len(data), text=lines, name=weights.name)


def tidy(source: str) -> str:
    """Return the same program, easier to read; its syntax tree stays the same."""
    lines = source.encode().split(b"\n")
    edits = sorted(_edits(ast.parse(source), lines), reverse=True)
    for row, start, end, new in edits:
        lines[row] = lines[row][:start] + new + lines[row][end:]
    return b"\n".join(lines).decode()


def _edits(node: ast.AST, lines: list[bytes]) -> Iterator[tuple[int, int, int, bytes]]:
    match node:
        case ast.JoinedStr():
            # Positions inside f-strings are only right from Python 3.12 on.
            return
        case (
            ast.Return(value=ast.Tuple(elts=[_, *_] as items) as pair)
            | ast.Assign(targets=[ast.Tuple()], value=ast.Tuple(elts=[_, *_] as items) as pair)
        ):
            if not any(isinstance(one, ast.Starred) for one in items):
                yield from _without_brackets(pair, lines, inside=True)
        case ast.BoolOp(values=values):
            for value in values:
                if isinstance(value, ast.UnaryOp):
                    yield from _without_brackets(value, lines, inside=False)
        case ast.Constant(value=str(text)) if "\\" in text and text.isprintable() and node.lineno == node.end_lineno:
            if '"' not in text and not text.endswith("\\"):
                yield node.lineno - 1, node.col_offset, node.end_col_offset or 0, f'r"{text}"'.encode()
    for child in ast.iter_child_nodes(node):
        yield from _edits(child, lines)


def _without_brackets(node: ast.expr, lines: list[bytes], *, inside: bool) -> Iterator[tuple[int, int, int, bytes]]:
    row, start, end = node.lineno - 1, node.col_offset, node.end_col_offset or 0
    if node.end_lineno != node.lineno:
        return
    if not inside:
        start, end = start - 1, end + 1
    if lines[row][start : start + 1] == b"(" and lines[row][end - 1 : end] == b")":
        yield row, start, start + 1, b""
        yield row, end - 1, end, b""
