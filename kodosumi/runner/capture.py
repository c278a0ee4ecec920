"""Capture: what a run prints, logs or warns, in Python or below it, becomes its ``stdout`` and ``stderr`` events.

One ``print`` is one event, and so is each other non-blank write to a stream. The streams are the same objects in
every run of a process, so a logging handler made in one run reaches the next run's events and never the last one's.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import io
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterable
from typing import Any

from ..events import Event, EventKind
from .descriptors import DescriptorPump
from .mailbox import Mailbox
from .shipping import shipping_thread
from .tracer import check_size

_builtin_print = builtins.print


class RoutedStream(io.TextIOBase):
    """Stands for ``sys.stdout`` or ``sys.stderr``: leads to the current run, else to where the stream led before.

    Args:
        name: ``stdout`` or ``stderr``. descriptor: its file descriptor. kind: of its events.
    """

    encoding = "utf-8"
    errors = "replace"
    newlines = None
    line_buffering = True
    write_through = True
    mode = "w"

    def __init__(self, name: str, descriptor: int, kind: EventKind) -> None:
        self.name = f"<{name}>"
        self.attribute = name
        self.descriptor = descriptor
        self.kind = kind
        self.original: Any = None
        self.route: Callable[[RoutedStream, str], None] | None = None
        self._buffer = RoutedBuffer(self)

    @property
    def buffer(self) -> RoutedBuffer:
        """Takes bytes, decoded as UTF-8."""
        return self._buffer

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        route = self.route
        if route is None:
            self.write_outside(text)
        else:
            route(self, text)
        return len(text)

    def write_outside(self, text: str, descriptor: int | None = None) -> None:
        """Writes past the run: to the original stream, or straight to a descriptor."""
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile: there is nobody to tell
            if descriptor is None and self.original is not None:
                self.original.write(text)
            else:
                os.write(self.descriptor if descriptor is None else descriptor, text.encode("utf-8", "replace"))

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self.route is None and self.original is not None:
            with contextlib.suppress(OSError, ValueError):
                self.original.flush()

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def reconfigure(self, **_: Any) -> None:
        """Accepted and ignored: events are UTF-8 and leave at once."""

    def close(self) -> None:
        """Ignored: the next run needs the stream."""


class RoutedBuffer(io.BufferedIOBase):
    """The binary side of a routed stream."""

    def __init__(self, stream: RoutedStream) -> None:
        # Weak, because each has the other; the stream lives as long as the process.
        self._stream = weakref.proxy(stream)
        self.name = stream.name
        self.mode = "wb"

    @property
    def raw(self) -> RoutedBuffer:
        return self

    def write(self, data: Any) -> int:
        content = bytes(data)
        self._stream.write(content.decode("utf-8", "replace"))
        return len(content)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Ignored, like the stream's: a wrapper around it that is collected must not end it."""


STREAMS = (RoutedStream("stdout", 1, EventKind.STDOUT), RoutedStream("stderr", 2, EventKind.STDERR))


class Capture:
    """Leads the process's output into one run's mailbox, from construction to :meth:`end`.

    Args:
        mailbox: of the run.
        max_bytes: largest payload of one event in bytes.
    """

    def __init__(self, mailbox: Mailbox, max_bytes: int) -> None:
        self._mailbox = mailbox
        self._max_bytes = max_bytes
        # What the plumbing itself logs is not the run's, and must never wait for the mailbox that it empties.
        self._plumbing = {threading.get_ident(), shipping_thread()}
        self._pid = os.getpid()
        self._last_resort = logging.lastResort
        self._adopted: list[tuple[logging.StreamHandler[Any], Any]] = []
        self._replace_streams()
        self._pump = DescriptorPump(mailbox)
        mailbox.before_post = self._pump.drain
        self._configure_logging()

    def flush(self) -> None:
        """Empties the buffers of Python and C in the calling thread, which may have to wait for them."""
        for stream in STREAMS:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.original.flush()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)

    def end(self) -> bool:
        """Puts everything back; never waits.

        Returns:
            False when a descriptor could not be put back: the process must not serve another run.
        """
        self._mailbox.before_post = None
        for stream in STREAMS:
            stream.route = None
            setattr(sys, stream.attribute, stream.original)
        builtins.print = _builtin_print
        for handler, stream in self._adopted:
            handler.setStream(stream)
        logging.lastResort = self._last_resort
        return self._pump.stop()

    def _route(self, stream: RoutedStream, text: str) -> None:
        if os.getpid() != self._pid:
            stream.write_outside(text, stream.descriptor)  # a forked child: the pipe leads to its parent's run
        elif threading.get_ident() in self._plumbing:
            self._write_outside(stream, text)
        elif text and not text.isspace():
            event = Event.now(stream.kind, text.rstrip())
            check_size(event, self._max_bytes)
            if not self._mailbox.post([event]):
                self._write_outside(stream, text)

    def _write_outside(self, stream: RoutedStream, text: str) -> None:
        redirected = _descriptor_of(stream.original) == stream.descriptor
        stream.write_outside(text, self._pump.outside(stream.descriptor) if redirected else None)

    def _replace_streams(self) -> None:
        for stream in STREAMS:
            current = getattr(sys, stream.attribute)
            if current is not stream:
                stream.original = current
                self._adopt_handlers(stream)
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.original.flush()
            stream.route = self._route
            setattr(sys, stream.attribute, stream)
        builtins.print = _print_as_one

    def _adopt_handlers(self, stream: RoutedStream) -> None:
        """Logging handlers made before the first run write to the stream as well, as they would to the original."""
        for handler in _handlers():
            if isinstance(handler, logging.StreamHandler) and handler.stream is stream.original:
                handler.setStream(stream)
                self._adopted.append((handler, stream.original))

    def _configure_logging(self) -> None:
        """INFO and above to stderr, for as long as the author configures nothing."""
        fallback = logging._StderrHandler(logging.INFO)  # type: ignore[attr-defined]
        own = self._last_resort.formatter if self._last_resort is not None else None
        fallback.setFormatter(_OfRun(self._plumbing, own))
        logging.lastResort = fallback
        if not logging.root.handlers and logging.root.level == logging.WARNING:
            logging.root.setLevel(logging.INFO)


class _OfRun(logging.Formatter):
    """A run's records, plainly; those of the plumbing as they are written while there is no run.

    Args:
        plumbing: idents of its threads. own: how its records are written; None: like the run's.
    """

    def __init__(self, plumbing: Collection[int], own: logging.Formatter | None) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._plumbing = plumbing
        self._own = own

    def format(self, record: logging.LogRecord) -> str:
        if self._own is not None and record.thread in self._plumbing:
            return self._own.format(record)
        return super().format(record)


def _print_as_one(
    *values: object, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False
) -> None:
    """``print`` that writes once, whatever its arguments."""
    stream = sys.stdout if file is None else file
    if not isinstance(stream, RoutedStream):
        _builtin_print(*values, sep=sep, end=end, file=file, flush=flush)
        return
    joined = io.StringIO()
    _builtin_print(*values, sep=sep, end=end, file=joined)
    stream.write(joined.getvalue())
    if flush:
        stream.flush()


# Pickled by reference and shown like the builtin that it stands for.
_print_as_one.__name__ = _print_as_one.__qualname__ = "print"
_print_as_one.__module__ = "builtins"


def _handlers() -> list[logging.Handler]:
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    return [handler for logger in loggers if isinstance(logger, logging.Logger) for handler in logger.handlers]


def _descriptor_of(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (OSError, ValueError, AttributeError, TypeError):
        return None
