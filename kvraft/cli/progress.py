"""Progress on the terminal of what takes long: what is done, how far it is, and for how long it has been running.

It is drawn on stderr if that is a terminal and the answer is for a person, and only once a command has taken longer
than `AFTER_S`; it is erased at the end. A thread draws it, so it also moves while the command waits for a node.
"""

import sys
import threading
from types import TracebackType
from typing import Final, Self

AFTER_S: Final = 0.5
"""A command that ends sooner shows no progress, seconds."""
DRAW_S: Final = 0.1


class Progress:
    """A line that shows the progress of a `with` block; the block sets `what`, `done` and `total`.

    Args:
        what: what is being done.
        output: the `-o` of the command; nothing is shown for "json".
        unit: what `done` counts, such as "keys" or "bytes"; None: nothing, and no bar is shown.
        total: the value of `done` at the end, None while it is unknown.
    """

    def __init__(self, what: str, output: str, unit: str | None = None, total: float | None = None) -> None:
        self.what = what
        self.done = 0.0
        self.total = total
        self._unit = unit
        self._is_over = threading.Event()
        self._thread = (
            threading.Thread(target=self._draw, daemon=True) if output != "json" and sys.stderr.isatty() else None
        )

    def __enter__(self) -> Self:
        if self._thread is not None:
            try:
                self._thread.start()
            except BaseException:  # Ctrl-C; the block is not entered, so nothing else would end the thread
                self._is_over.set()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    def _draw(self) -> None:
        if self._is_over.wait(AFTER_S):
            return
        from rich import progress
        from rich.console import Console

        columns: list[progress.ProgressColumn] = [
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}", markup=False),
        ]
        if self._unit is not None:
            count = progress.DownloadColumn() if self._unit == "bytes" else progress.MofNCompleteColumn()
            unit = () if self._unit == "bytes" else (progress.TextColumn(self._unit),)
            columns += [progress.BarColumn(), count, *unit, progress.TimeRemainingColumn()]
        else:
            columns += [progress.TimeElapsedColumn()]
        with progress.Progress(
            *columns,
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
            # The command's output goes where it went before.
            redirect_stdout=False,
            redirect_stderr=False,
        ) as drawn:
            task = drawn.add_task(self.what, total=self.total)
            while True:
                drawn.update(task, description=self.what, completed=self.done, total=self.total, refresh=True)
                if self._is_over.wait(DRAW_S):
                    return
