"""twistd, with a sampler of its reactor's thread: `python -m benchmarks.budget_probe -n kvraft --id 0`.

Each INTERVAL_S of the process' processor time the innermost Python frame is noted, if it was the reactor's thread that
used it. A call into C, or into the kernel, counts for the Python function that made it. Samples go to the file that
SAMPLES_FILE names, a line each: the moment (CLOCK_MONOTONIC, seconds), the module's file, and the function.
"""

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Final, TextIO

INTERVAL_S: Final = 0.003
SAMPLES_FILE: Final = "KVRAFT_BENCHMARK_SAMPLES"
"""The environment variable with the path of the file."""
BUFFERED: Final = 50
ROOTS: Final = ("/kvraft/", "/twisted/")


class Sampler:
    """Notes what the reactor's thread does, each time that SIGPROF comes."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lines: list[str] = []
        self._thread_s = time.thread_time()

    def note(self, _number: int, frame: FrameType | None) -> None:
        """Take one sample; the handler of the signal."""
        used, self._thread_s = time.thread_time() - self._thread_s, time.thread_time()
        if frame is None or used < INTERVAL_S / 2:
            return  # another thread used the processor
        code = frame.f_code
        self._lines.append(f"{time.monotonic():.4f} {short_path(code.co_filename)} {code.co_name}\n")
        if len(self._lines) >= BUFFERED:
            self._file.writelines(self._lines)
            self._file.flush()
            self._lines.clear()


def short_path(path: str) -> str:
    """The path from "kvraft/" or "twisted/" on; the file's name of what is elsewhere."""
    for root in ROOTS:
        if root in path:
            return root[1:] + path.rpartition(root)[2]
    return path.rpartition("/")[2] or path


def main() -> None:
    """Begin to sample, and become twistd."""
    from twisted.scripts.twistd import run

    file = Path(os.environ[SAMPLES_FILE]).open("a")  # noqa: SIM115 - for as long as the process lives
    signal.signal(signal.SIGPROF, Sampler(file).note)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
    run()


if __name__ == "__main__":
    main()
