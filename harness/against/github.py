"""Post what ``against`` came to under a pull request, or update the comment of an earlier run.

    python -m harness.against.github difference.json

Runs where the token may write comments, and where no code under test runs. The repository, the token and the API come
from the environment of a job (``GITHUB_REPOSITORY``, ``GITHUB_TOKEN``, ``GITHUB_API_URL``), as does the pull request:
its number (``PULL``), or for a fork the branch and the commit that were measured (``HEAD_OWNER``, ``HEAD_BRANCH``,
``HEAD_SHA``), by which it is found. See https://docs.github.com/en/rest/issues/comments.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from harness.against.answer import read_answer
from harness.against.render import comment, marker
from harness.errors import EnvironmentFailure, ExitStatus, HarnessError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LIMIT_S = 60
_PAGE = 100
_MOST_PAGES = 30
AUTHOR = "github-actions[bot]"
"""Who writes with a job's token; nobody else's comment is ever changed."""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Post the comment of a file; return an exit status."""
    try:
        if len(arguments) != 1:
            message = "name one file: python -m harness.against.github difference.json"
            raise UsageError(message)
        path = Path(arguments[0])
        if not path.is_file() or path.is_symlink():
            message = f"no file {path}; write it with: against --format json={path}"
            raise UsageError(message)
        answer = read_answer(path.read_bytes(), str(path))
        api = Api(environ)
        pull = api.pull(environ)
        print(api.post(pull, marker(answer.package), comment(answer)))
    except HarnessError as refusal:
        print(refusal, file=sys.stderr)
        return int(refusal.exit_status)
    return int(ExitStatus.AS_EXPECTED)


class Api:
    """GitHub's API for one repository."""

    def __init__(self, environ: Mapping[str, str], permission: str = "pull-requests: write") -> None:
        """Read repository, token and address; ``permission`` is what a refused job is told to have.

        Raises :class:`UsageError` when one of the three is missing.
        """
        names = ("GITHUB_REPOSITORY", "GITHUB_TOKEN", "GITHUB_API_URL")
        if missing := [name for name in names if not environ.get(name)]:
            message = f"{', '.join(missing)} not set; run this in a job of GitHub Actions"
            raise UsageError(message)
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", environ["GITHUB_REPOSITORY"]):
            message = "GITHUB_REPOSITORY is not owner/name; run this in a job of GitHub Actions"
            raise UsageError(message)
        self._base = f"{environ['GITHUB_API_URL']}/repos/{environ['GITHUB_REPOSITORY']}"
        self._token = environ["GITHUB_TOKEN"]
        self._permission = permission

    def pull(self, environ: Mapping[str, str]) -> int:
        """Return the number of the pull request: as it is given, else the open one whose head was measured.

        Raises :class:`UsageError` when there is none.
        """
        if number := environ.get("PULL"):
            if number.isascii() and number.isdigit():
                return int(number)
            message = "PULL is no number; give that of the event"
            raise UsageError(message)
        owner, branch, sha = (environ.get(name, "") for name in ("HEAD_OWNER", "HEAD_BRANCH", "HEAD_SHA"))
        found = self.ask("GET", f"/pulls?{urlencode({'state': 'open', 'head': f'{owner}:{branch}'})}") if sha else []
        numbers = [one["number"] for one in found if one["head"]["sha"] == sha]
        if len(numbers) != 1:
            message = "no open pull request has the commit that was measured; it has moved on, and is measured again"
            raise UsageError(message)
        return int(numbers[0])

    def post(self, pull: int, mark: str, body: str) -> str:
        """Update our comment under a pull request, or add one; return what was done."""
        for one in self.pages(f"/issues/{pull}/comments"):
            if one["user"]["login"] == AUTHOR and one["body"].startswith(mark):
                self.ask("PATCH", f"/issues/comments/{int(one['id'])}", {"body": body})
                return f"updated comment {int(one['id'])} of #{pull}"
        made = self.ask("POST", f"/issues/{pull}/comments", {"body": body})
        return f"added comment {int(made['id'])} to #{pull}"

    def pages(self, path: str, **query: str) -> Iterator[Any]:
        """Iterate over the entries of all pages of a list; asks for a page when it comes to it."""
        for page in range(1, _MOST_PAGES + 1):
            found = self.ask("GET", f"{path}?{urlencode({**query, 'per_page': _PAGE, 'page': page})}")
            yield from found
            if len(found) < _PAGE:
                break

    def ask(self, method: str, path: str, data: Mapping[str, Any] | None = None) -> Any:
        """Send a request and return its JSON. Raises :class:`EnvironmentFailure`, never with the token."""
        request = urllib.request.Request(  # noqa: S310 - the API of the job
            f"{self._base}{path}",
            method=method,
            data=json.dumps(data).encode() if data else None,
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=_LIMIT_S) as answer:  # noqa: S310 - as above
                return json.load(answer)
        except urllib.error.HTTPError as error:
            message = f"{method} {path.partition('?')[0]}: {error.code}; give the job permissions: {self._permission}"
            raise EnvironmentFailure(message) from None
        except (OSError, ValueError) as error:
            message = f"{method} {path.partition('?')[0]}: {error}; run the job again"
            raise EnvironmentFailure(message) from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
