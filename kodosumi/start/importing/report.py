"""What an import tells its user: how far it is, and in the end what was imported, what wasn't, and why."""

from __future__ import annotations

import sys
import time
from collections import Counter
from types import TracebackType
from typing import Any

import typer

from .source import Reason, Skipped

LINE_EVERY_S = 5.0
DRAW_EVERY_S = 0.1
PATHS_SHOWN = 3


class Report:
    """Counts what happened to each execution, and shows it while it happens.

    A bar in a terminal, a line now and then elsewhere. Used as a context around the work.

    Args:
        total: how many executions there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._imported = self._present = self._events = 0
        self._skipped: Counter[Reason] = Counter()
        self._examples: dict[Reason, list[Skipped]] = {}
        self._said_at = time.monotonic()
        self._shown = 0
        self._bar: Any = None
        if sys.stdout.isatty():
            # also a step of no executions is shown: a large one may take minutes
            self._bar = typer.progressbar(length=total, label="executions", show_pos=True, update_min_steps=0)

    def __enter__(self) -> Report:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._draw()
            self._bar.__exit__(kind, error, traceback)

    @property
    def damaged(self) -> bool:
        """Whether anything could not be read."""
        return self._skipped[Reason.DAMAGED] > 0

    @property
    def imported(self) -> int:
        """Executions that are new in the database."""
        return self._imported

    def add_events(self, count: int) -> None:
        """So many events were read and written, or compared."""
        self._events += count
        self._tell()

    def add_imported(self) -> None:
        """An execution is in the database now."""
        self._imported += 1
        self._tell()

    def add_present(self) -> None:
        """An execution was there already, the same in every event."""
        self._present += 1
        self._tell()

    def add_skipped(self, skipped: Skipped) -> None:
        """An execution stays where it is."""
        self._skipped[skipped.reason] += 1
        examples = self._examples.setdefault(skipped.reason, [])
        if len(examples) < PATHS_SHOWN:
            examples.append(skipped)
        self._tell()

    def summary(self) -> list[str]:
        """The last lines."""
        lines = [f"{self._imported:>9,}  imported", f"{self._present:>9,}  already there"]
        for reason, count in sorted(self._skipped.items()):
            lines.append(f"{count:>9,}  skipped, {reason.value}")
            lines += [" " * 11 + _example(skipped) for skipped in self._examples[reason]]
            if count > PATHS_SHOWN:
                lines.append(" " * 11 + f"… and {count - PATHS_SHOWN:,} more")
        return lines

    @property
    def _done(self) -> int:
        return self._imported + self._present + sum(self._skipped.values())

    def _tell(self) -> None:
        now = time.monotonic()
        if self._bar is not None and now - self._said_at >= DRAW_EVERY_S:
            self._said_at = now
            self._draw()
        elif self._bar is None and now - self._said_at >= LINE_EVERY_S:
            self._said_at = now
            typer.echo(f"{self._done:,} of {self._total:,} executions, {self._events:,} events")

    def _draw(self) -> None:
        self._bar.label = f"{self._events:,} events"
        steps, self._shown = self._done - self._shown, self._done
        self._bar.update(steps)


def _example(skipped: Skipped) -> str:
    return f"{skipped.path}: {skipped.detail}" if skipped.detail else str(skipped.path)
