"""Read and write the issues of a repository on GitHub.

The repository, the token and the API come from the environment of a job, as in :mod:`harness.against.github`. See
https://docs.github.com/en/rest/issues/issues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.against.github import AUTHOR, Api
from harness.followup.issues import Action, Issue

if TYPE_CHECKING:
    from collections.abc import Mapping

LABEL = "prompt-bench"
"""The label of all issues that are opened here: by it they are found."""


class Tracker:
    """The issues of one repository that carry the label."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Read repository, token and address. Raises :class:`harness.errors.UsageError` when one is missing."""
        self._api = Api(environ, permission="issues: write")

    def issues(self) -> list[Issue]:
        """List the labelled issues, open and closed; pull requests are none."""
        found = self._api.pages("/issues", labels=LABEL, state="all")
        return [_issue(one) for one in found if "pull_request" not in one]

    def do(self, action: Action) -> str:
        """Carry an action out; return what was done in a few words."""
        match action.kind:
            case "create":
                data: dict[str, Any] = {"title": action.title, "body": action.body, "labels": [LABEL]}
                return f"opened #{int(self._api.ask('POST', '/issues', data)['number'])}: {action.title}"
            case "update" | "reopen":
                data = {"title": action.title, "body": action.body, "state": "open"}
            case "close":
                data = {"state": "closed", "state_reason": "completed"}
        if action.comment:
            self._api.ask("POST", f"/issues/{action.number}/comments", {"body": action.comment})
        self._api.ask("PATCH", f"/issues/{action.number}", data)
        return f"{_DONE[action.kind]} #{action.number}"


_DONE = {"update": "updated", "reopen": "opened again", "close": "closed"}


def _issue(data: Mapping[str, Any]) -> Issue:
    return Issue(
        number=int(data["number"]),
        body=data["body"] or "",
        is_open=data["state"] == "open",
        is_ours=data["user"]["login"] == AUTHOR,
    )
