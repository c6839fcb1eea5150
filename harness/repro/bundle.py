"""Reduce a case to what one variant needs (pure): a case file and a variant in, Python source out."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import CaseError
from harness.repro.fold import Fold, bind, refuse_trials
from harness.repro.prune import drop_unused, empty_managers, forget_unraised, inline_numbers, prune, unread_dicts
from harness.repro.scope import Program, free_names, substitute, walk
from harness.repro.source import Flat, flatten
from harness.repro.specialise import specialise

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


ROOTS = ("check", "main")
_ROUNDS = 30
_WEIGHTS = re.compile(r"[\w-]*\.safetensors")
_MARKER = re.compile(r"^( *)(__comment_\w+__)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The source of a script's body: imports, definitions, and the weights that it wants to find."""

    imports: str
    body: str
    weights: str | None


def bundle(case: Path, variant: Mapping[str, str], facts: Mapping[str, object]) -> Bundle:
    """Reduce a case to one variant; ``facts`` are constants that the ending names.

    Raises :class:`CaseError` when the case does something that cannot be taken out of the project.
    """
    flat = flatten(case, ENDING)
    # Of the kit only what is reached has to be free of trials: some of it asks for axes that this case does not have.
    program = {name: _Alone().visit(node) for name, node in bind(flat.program, variant).items()}
    program = drop_unused(program, ROOTS)
    refuse_trials(program)
    program = {
        name: substitute(node, {"CHECKPOINTS": ast.Name("SCRATCH", ast.Load())}) for name, node in program.items()
    }
    facts_first: Program = {
        name: ast.Assign([ast.Name(name, ast.Store())], ast.parse(repr(value), mode="eval").body)
        for name, value in facts.items()
    }
    program = _restore_names(reduce({**facts_first, **program}, flat))
    weights = _weights(program, case.parent / "checkpoints")
    return Bundle(imports=_imports(program, flat, weights=weights), body=_text(program, flat), weights=weights)


def reduce(program: Program, flat: Flat) -> Program:
    """Fold, prune and specialise until nothing changes any more."""
    earlier: dict[str, str] = {}
    before: dict[str, str] = {}
    surroundings: object = None
    for _ in range(_ROUNDS):
        program = drop_unused(program, ROOTS)
        unread, empty, fold = unread_dicts(program), empty_managers(program), Fold(program)
        constants = {name: before.get(name) for name, node in program.items() if not isinstance(node, ast.FunctionDef)}
        same, surroundings = (unread, empty, constants) == surroundings, (unread, empty, constants)
        for name, node in program.items():
            # What the last round left as it was stays so, unless something around it has changed.
            if not same or before.get(name) != earlier.get(name):
                program[name] = fold.visit(node)
                prune(program[name], fold, unread, empty)
        specialise(program, flat.imports, ROOTS)
        earlier, before = before, {name: ast.dump(node) for name, node in program.items()}
        if before == earlier:
            forget_unraised(program)
            inline_numbers(program, flat.kept)
            return drop_unused(program, ROOTS)
    message = f"reducing a case did not come to an end in {_ROUNDS} rounds"
    raise CaseError(message)


class _Alone(ast.NodeTransformer):
    """A variant in a script shares nothing with others: what they begin with is made where it is asked for."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Name(id="made_once"), args=[ast.Lambda(body=made), *_]):
                return made
            case ast.Call(func=ast.Name(id="made_once"), args=[make, *_]):
                return ast.Call(func=make, args=[], keywords=[])
            case _:
                return node


def _restore_names(program: Program) -> Program:
    """Give names their short form back where nothing else has it any more."""
    short: dict[str, str] = {}
    for name in program:
        for prefix in ("models_", "methods_", "tokens_", "MODELS_", "METHODS_", "TOKENS_"):
            bare = name.removeprefix(prefix)
            if bare != name and bare not in program and bare not in short.values():
                short[name] = bare
    renamed: Program = {}
    for name, node in program.items():
        final = short.get(name, name)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.name = final
        elif isinstance(node, ast.Assign):
            node.targets = [ast.Name(final, ast.Store())]
        renamed[final] = substitute(node, {old: ast.Name(new, ast.Load()) for old, new in short.items()})
    return renamed


def _weights(program: Program, committed: Path) -> str | None:
    """Name the one file of ``committed`` that a program reads; a program that saves may name what it writes itself."""
    found = {
        one.value
        for node in program.values()
        for one in walk(node)
        if isinstance(one, ast.Constant) and isinstance(one.value, str) and _WEIGHTS.fullmatch(one.value)
    }
    saves = any(
        isinstance(one, ast.Attribute) and one.attr == "save_pretrained"
        for node in program.values()
        for one in walk(node)
    )
    if saves:
        found = {name for name in found if name == ".safetensors" or (committed / name).is_file()}
    if len(found) > 1 or ".safetensors" in found:
        message = f"a script can bring one file of weights, not {sorted(found)}: no script can be made of that"
        raise CaseError(message)
    return found.pop() if found else None


def _imports(program: Program, flat: Flat, *, weights: str | None) -> str:
    used = {name for node in program.values() for name in free_names(node)}
    used |= {ast.unparse(one) for node in program.values() for one in walk(node) if isinstance(one, ast.Attribute)}
    lines = {ast.unparse(statement) for name, statement in flat.imports.items() if name in used}
    return "\n".join(sorted(lines | ({"import base64", "import lzma"} if weights else set())))


def _text(program: Program, flat: Flat) -> str:
    parts = []
    for name, node in program.items():
        above = flat.comments.get(f"above {name}", "")
        text = ast.unparse(ast.fix_missing_locations(node))
        parts.append("\n".join(filter(None, [above, text])))
    return _MARKER.sub(lambda found: found[1] + flat.comments[found[2]], "\n".join(parts)) + "\n"


ENDING = '''
import atexit
import importlib.metadata
import shutil
import tempfile
import traceback
import warnings
from pathlib import Path

import torch

from harness.kit.outcomes import classify, message

SCRATCH = Path(tempfile.mkdtemp(prefix="repro-"))
EVIDENCE = {}
COUNTERS = {}
LATENCY = {}


def main():
    """Print what is expected and what is seen; 1: the defect is there, 0: it is not, 2: no telling."""
    atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(*(f"{name} {importlib.metadata.version(name)}" for name in SHOWN), sep=", ")
    print(f"expected: {EXPECTED}")
    outcome, signed, words = "passed", None, "as expected"
    try:
        check()
    except Exception as error:
        outcome, signed = classify(error)
        words = message(error)
        if signed:
            traceback.print_exc()
    for name, value in EVIDENCE.items():
        print(f"  {name}: {value}")
    print(f"seen: {outcome}: {words}")
    if signed:
        print(f"signature: {signed}")
    return {"passed": 0, "wrong": 1, "error": 1}.get(outcome, 2)
'''

UNPACK = '''

# The weights of the tiny model, {size:,} bytes of safetensors: lzma, then base64.
WEIGHTS = """
{text}
"""
(SCRATCH / "{name}").write_bytes(lzma.decompress(base64.b64decode(WEIGHTS)))
'''

LAST = """

if __name__ == "__main__":
    raise SystemExit(main())
"""
