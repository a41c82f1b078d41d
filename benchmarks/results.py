"""Results as files: JSON that says on which machine, with which versions and of which commit something was measured."""

import os
import platform
import shutil
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.cluster import REPOSITORY

FOLDER: Final = REPOSITORY / "benchmarks" / "results"
VERSION_SECONDS_MAX: Final = 20.0
PACKAGES: Final = ("twisted", "msgspec", "hiredis", "pysyncobj")
PROGRAMS: Final = {
    "etcd": ("etcd", "--version"),
    "redis": ("redis-server", "--version"),
    "java": ("java", "-version"),
    "zookeeper": ("dpkg-query", "--show", "--showformat=${Version}", "zookeeper"),
}
"""The command that prints the version of each peer."""


def first_line(*command: str) -> str | None:
    """The first line that a program prints; None when there is no such program, or it fails."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=REPOSITORY, timeout=VERSION_SECONDS_MAX
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return next(iter((done.stdout + done.stderr).splitlines()), "")


def machine() -> dict[str, Any]:
    """The processors, memory, kernel and Python."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cores": len(os.sched_getaffinity(0)),
        "model": models[0].partition(": ")[2] if models else "unknown",
        "memory_gib": round(memory_kib / 1024**2, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """The versions of what is installed of kvraft's libraries and of the peers."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    for name, command in PROGRAMS.items():
        line = first_line(*command)
        if line:
            found[name] = line
    return found


def commit() -> str:
    """The commit of this checkout, with a word if files differ from it."""
    head = first_line("git", "rev-parse", "--short=12", "HEAD") or "unknown"
    changed = first_line("git", "status", "--porcelain", "--untracked-files=no", "--", "kvraft")
    return f"{head}, changed" if changed else head


def new_path(selection: str, folder: Path = FOLDER) -> Path:
    """Where to write what is measured from now on."""
    return folder / f"{selection}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"


def write(path: Path, arguments: dict[str, Any], data: Any) -> None:
    """Write what was measured so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "arguments": arguments,
        "data": data,
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content, enc_hook=str), indent=1) + b"\n")
