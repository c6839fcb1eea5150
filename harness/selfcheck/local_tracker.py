"""A tracker of issues on this machine: the few addresses of GitHub's API that `admin follow-up` asks."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlparse

from harness.against.github import AUTHOR

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY, TOKEN = "rehearsal/rehearsal", "rehearsal"
_PAGE = 100


class LocalTracker:
    """Issues and comments in memory, and the environment by which a command finds them."""

    def __init__(self) -> None:
        """Begin without an issue."""
        self.issues: list[dict[str, Any]] = []
        self.comments: list[str] = []
        self.environment: dict[str, str] = {}

    @property
    def open(self) -> list[dict[str, Any]]:
        """Return the open issues."""
        return [one for one in self.issues if one["state"] == "open"]

    def answer(self, method: str, path: str, data: dict[str, Any]) -> Any:
        """Answer one request as GitHub does."""
        url = urlparse(path)
        match method:
            case "GET":
                page = int(parse_qs(url.query).get("page", ["1"])[0])
                return self.issues[_PAGE * (page - 1) : _PAGE * page]
            case "POST" if url.path.endswith("/comments"):
                self.comments.append(data["body"])
                return {"id": len(self.comments)}
            case "POST":
                self.issues.append({"number": len(self.issues) + 1, "state": "open", "user": {"login": AUTHOR}, **data})
                return self.issues[-1]
            case _:
                issue = self.issues[int(url.path.rpartition("/")[2]) - 1]
                issue |= data
                return issue


@contextmanager
def local_tracker() -> Iterator[LocalTracker]:
    """Serve a tracker until the block ends."""
    tracker = LocalTracker()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
            length = int(self.headers.get("Content-Length") or 0)
            data = json.loads(self.rfile.read(length)) if length else {}
            self.send_response(200 if allowed else 403)
            self.end_headers()
            self.wfile.write(json.dumps(tracker.answer(self.command, self.path, data) if allowed else {}).encode())

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - the names that http.server asks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        tracker.environment = {
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_TOKEN": TOKEN,
            "GITHUB_API_URL": f"http://127.0.0.1:{server.server_port}",
        }
        try:
            yield tracker
        finally:
            server.shutdown()
            thread.join()
