"""What ``git bisect run`` calls for each commit: asks the bisect that waits, and exits as it says.

``python -I -S client.py SOCKET``; nothing is imported but the standard library, so that a commit
costs no more than this interpreter's start. Without an answer the exit status stops git bisect.
"""

from __future__ import annotations

import socket
import sys

_STOP = 255

if __name__ == "__main__":
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(sys.argv[1])
            status = int(line.makefile().read())
    except (OSError, ValueError):
        status = _STOP
    sys.exit(status)
