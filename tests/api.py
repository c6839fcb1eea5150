"""The answering half of GitHub's API on this machine, for what writes comments and issues."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "t" * 8
AUTHOR = {"user": {"login": "github-actions[bot]"}}
"""Who has written what is posted here."""


class ApiHandler(BaseHTTPRequestHandler):
    """Answers in JSON who has the token, and remembers what was asked; what is answered is for subclasses."""

    asked: ClassVar[list[str]] = []

    def get(self) -> None:
        """Answer a GET."""
        raise NotImplementedError

    def post(self) -> None:
        """Answer a POST."""
        raise NotImplementedError

    def patch(self) -> None:
        """Answer a PATCH."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Answer a GET."""
        self.get()

    def do_POST(self) -> None:
        """Answer a POST."""
        self.post()

    def do_PATCH(self) -> None:
        """Answer a PATCH."""
        self.patch()

    def body(self) -> dict[str, Any]:
        """Read what was sent."""
        return dict(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def answer(self, data: Any) -> None:
        """Answer who has the token, and refuse everybody else."""
        allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
        self.asked.append(f"{self.command} {self.path}")
        self.send_response(200 if allowed else 403)
        self.end_headers()
        self.wfile.write(json.dumps(data if allowed else {}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def page_of(entries: list[Any], query: dict[str, list[str]]) -> list[Any]:
    """Return the hundred entries of the page that is asked for."""
    page = int(query["page"][0])
    return entries[100 * (page - 1) : 100 * page]


@contextmanager
def serve(handler: type[ApiHandler]) -> Iterator[str]:
    """Serve the API; yield its address."""
    handler.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
