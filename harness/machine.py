"""Facts about this machine, as records name them."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

from harness.contracts.record import Machine


def gpus() -> str:
    """List the GPUs that the NVIDIA driver knows, as one line; empty where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)  # noqa: S607
    names = [line.partition("(")[0].partition(":")[2].strip() for line in listed.stdout.splitlines() if "GPU" in line]
    return ", ".join(names)


@cache
def machine_facts() -> Machine:
    """Describe this machine as records name it. The worker adds the GPU that it really used."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return Machine(
        cpu=model,
        cores=os.cpu_count(),
        gpu=gpus() or None,
        platform=f"{platform.system().lower()}-{platform.machine()}",
    )
