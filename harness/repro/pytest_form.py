"""A short script as a failing test (pure): a patch that adds it to PEFT's tests, written as those of decoders are."""

from __future__ import annotations

import ast
import re
import textwrap

_CLASS = "TestPromptLearningRepro"


def patch(script: str, name: str) -> str:
    """Return a patch for ``git apply`` in a checkout of PEFT: a new module of tests with one method of a class.

    ``script`` is a short script, ``name`` the case and variant that it is about. What the script asserts is what the
    test asserts; what it prints pytest shows when it fails.
    """
    slug = re.sub(r"\W+", "_", name).strip("_").lower()
    lines = _test_module(script, slug).splitlines()
    path = f"tests/test_{slug}.py"
    head = [
        "diff --git a/{0} b/{0}",
        "new file mode 100644",
        "--- /dev/null",
        "+++ b/{0}",
        f"@@ -0,0 +1,{len(lines)} @@",
    ]
    return "\n".join([*(line.format(path) for line in head), *(f"+{line}" for line in lines)]) + "\n"


def _test_module(script: str, slug: str) -> str:
    tree = ast.parse(script)
    says = ast.get_docstring(tree) or ""
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    last = max(node.end_lineno or 0 for node in imports)
    body = "\n".join(script.splitlines()[last:]).strip("\n")
    # A function inside a method stands without the two empty lines around it.
    body = re.sub(r"\n\n\n+", "\n\n", body)
    first = "\n".join(script.splitlines()[imports[0].lineno - 1 : last])
    return "\n".join(
        [
            first, "", "", f"class {_CLASS}:", f"    def test_{slug}(self):", f"        # {says}",
            textwrap.indent(body, " " * 8), "",
        ]
    )  # fmt: skip
