"""Tell failures of this machine from facts about versions, by the words that uv ends with.

uv has no exit status of its own for them. The words are those of the operating system, which uv quotes with their
number ("No space left on device (os error 28)"), and those of its HTTP client. What is not recognised here counts as
a fact about the versions in :mod:`harness.environments.build`, and as none in :mod:`harness.environments.resolve`,
where a fact has words of its own ("No solution found").
"""

from __future__ import annotations

import errno
import re

_SIGNALS = 128

_ERRORS = (
    errno.EPERM, errno.EIO, errno.ENOMEM, errno.EACCES, errno.ENFILE, errno.EMFILE, errno.ETXTBSY, errno.EFBIG,
    errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT,
    errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EAGAIN,
)  # fmt: skip
_WORDS = re.compile(
    "|".join(
        (
            rf"\(os error ({'|'.join(str(number) for number in _ERRORS)})\)",
            # Some of uv's parts leave the number out.
            "no space left on device",
            "permission denied",
            "read-only file system",
            "disk quota exceeded",
            # The index or the way to it.
            "error sending request",
            "client error \\(connect\\)",
            "dns error",
            "could not resolve host",
            "git operation failed",
            "connection (refused|reset|closed)",
            "operation timed out",
            "failed to download distribution due to network timeout",
            "http status (server error \\(5\\d\\d|client error \\((401|403|407|408|429)\\b)",
            r"returned an? (401|403|407|429)\b",
            "could not be queried due to a lack of valid authentication credentials",
            "network (connectivity is|was) disabled",
            "invalid peer certificate",
            # What the machine lacks.
            "no interpreter found",
            "out of memory",
        )
    ),
    re.IGNORECASE,
)


def machine_failed(status: int, words: str) -> bool:
    """Return whether a command that ended with ``status`` and ``words`` failed of the machine that it ran on.

    A negative status, or from 128 on as shells write it, is the signal that ended it; uv has no such status itself.
    """
    return status < 0 or status > _SIGNALS or _WORDS.search(words) is not None
