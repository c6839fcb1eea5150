"""Text from records, plans and matrix files, made fit for a terminal, an XML file or a page of Markdown."""

from __future__ import annotations

import re
import unicodedata

_BACKTICKS = re.compile("`+")
_MARKDOWN = re.compile(r"[\\`*\[\]<>|#!~&]")
"""What begins code, emphasis, a link, an image, HTML, an entity, a heading, or the next entry of a table."""


def printable(text: str) -> str:
    r"""Return ``text`` with its control characters, lone surrogates and the like written as escapes, such as ``\x1b``.

    Line ends and tabs stay, and so do the spaces of all scripts. What directs a terminal, turns the direction of
    writing, or is not allowed in XML 1.0 does not.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def one_line(text: str) -> str:
    """Return ``text`` as :func:`printable` does, on one line."""
    return " ".join(printable(text).split())


def markdown(text: str) -> str:
    """Return ``text`` on one line, with a backslash before each character that Markdown would take for its own."""
    return _MARKDOWN.sub(r"\\\g<0>", one_line(text))


def markdown_code(text: str) -> str:
    """Return ``text`` on one line, to stand between backticks, in a table too."""
    return one_line(text).replace("`", "'").replace("|", "\\|")


def fence(text: str) -> str:
    """Return the backticks between which ``text`` is a block of code, whatever it holds."""
    return "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(text)), default=0))


def _shown(character: str) -> str:
    if character.isprintable() or character in "\n\t" or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")
