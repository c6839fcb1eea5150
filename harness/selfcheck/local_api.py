"""The answering half of GitHub's API on this machine, for what writes issues and comments."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlparse

from harness.against.github import AUTHOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

REPOSITORY, TOKEN = "owner/name", "t" * 8
_PAGE = 100

WRITTEN_HERE = {"user": {"login": AUTHOR}}
"""Who has written what is posted here."""


class LocalApi:
    """Answers in JSON who has the token, and remembers what was asked; what is answered is for subclasses."""

    def __init__(self) -> None:
        """Begin with nothing asked; the address is known once it is served."""
        self.asked: list[str] = []
        self.environment: dict[str, str] = {}

    def answer(self, method: str, path: str, query: Mapping[str, str], data: Mapping[str, Any]) -> Any:
        """Answer one request as GitHub does."""
        raise NotImplementedError


Api = TypeVar("Api", bound=LocalApi)


class LocalTracker(LocalApi):
    """Issues and comments in memory: the few addresses that `admin follow-up` asks."""

    def __init__(self) -> None:
        """Begin without an issue."""
        super().__init__()
        self.issues: list[dict[str, Any]] = []
        self.comments: list[str] = []

    @property
    def open(self) -> list[dict[str, Any]]:
        """Return the open issues."""
        return [one for one in self.issues if one["state"] == "open"]

    def answer(self, method: str, path: str, query: Mapping[str, str], data: Mapping[str, Any]) -> Any:
        """Answer one request as GitHub does: issues are listed by a label of theirs."""
        match method:
            case "GET":
                return page_of([one for one in self.issues if query["labels"] in one["labels"]], query)
            case "POST" if path.endswith("/comments"):
                self.comments.append(data["body"])
                return {"id": len(self.comments)}
            case "POST":
                self.issues.append({"number": len(self.issues) + 1, "state": "open", **WRITTEN_HERE, **data})
                return self.issues[-1]
            case _:
                issue = self.issues[int(path.rpartition("/")[2]) - 1]
                issue |= data
                return issue


def page_of(entries: Sequence[Any], query: Mapping[str, str]) -> list[Any]:
    """Return the hundred entries of the page that is asked for."""
    page = int(query.get("page", "1"))
    return list(entries[_PAGE * (page - 1) : _PAGE * page])


@contextmanager
def served(api: Api) -> Iterator[Api]:
    """Serve an API until the block ends; its ``environment`` is that in which a command finds it."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
            length = int(self.headers.get("Content-Length") or 0)
            data = json.loads(self.rfile.read(length)) if length else {}
            url = urlparse(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            api.asked.append(f"{self.command} {self.path}")
            self.send_response(200 if allowed else 403)
            self.end_headers()
            self.wfile.write(json.dumps(api.answer(self.command, url.path, query, data) if allowed else {}).encode())

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - the names that http.server asks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        api.environment = {
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_TOKEN": TOKEN,
            "GITHUB_API_URL": f"http://127.0.0.1:{server.server_port}",
        }
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
