"""Every error that kodosumi raises, one root, one base per area.

    KodosumiError
    ├── ConfigurationError          a KODO_* variable or option cannot be used
    ├── MalformedEvent              bytes that are not a batch of events
    ├── LaunchError                 a launch that cannot be accepted
    │   ├── BadEntryPoint           (ValueError) the entry point's name or object cannot be used
    │   ├── BadInputs               (ValueError) inputs that cannot be sent to the cluster
    │   └── LaunchUnavailable       the cluster, pool or transport cannot keep it now: try again (503)
    ├── LockError
    │   ├── UnknownLock             (LookupError) the app has no ``@app.lock`` of this name
    │   └── NotOpen
    │       ├── LockNotFound        (KeyError) no such lock, or its run is over
    │       └── LockReleased        the lock has its answer, or has expired
    ├── FileError
    │   ├── BadPath                 (ValueError) a file name that would leave its folder, or that no system can keep
    │   ├── FileMissing             (FileNotFoundError) no such file or folder
    │   └── FilesUnavailable        the file store or the panel cannot be reached or written now
    ├── PayloadTooLarge             (ValueError) one event's payload is larger than KODO_MAX_EVENT_BYTES
    ├── InputsError                 (kodosumi.forms) what a user entered is not acceptable
    ├── TransportError
    │   ├── TransportUnavailable    cannot be reached now; retried by whoever can wait
    │   ├── TransportLost           accepted events of this execution are gone with the transport's storage
    │   └── ExecutionClosed         the execution has its end; nothing may follow
    │       └── AttemptOver         a later attempt of the execution has begun; nothing of this one may follow
    ├── StoreError
    │   ├── StoreUnavailable        cannot be written or read now (disk full, locked, down)
    │   └── ExecutionNotFound       (KeyError) no such execution
    ├── WebhookError                a receiver of the webhook did not take a message
    └── ClusterError                Ray cannot be reached, joined or started

A driver's own error is translated where the driver is used and kept as the cause.
"""

from __future__ import annotations


class KodosumiError(Exception):
    """Root of every error of kodosumi; the text may be empty."""


class ConfigurationError(KodosumiError):
    """A setting that cannot be used; the text names it, its value and what would be valid."""


class MalformedEvent(KodosumiError):
    """Bytes that are not a batch of events."""


class LaunchError(KodosumiError):
    """A launch that cannot be accepted; the text says what to do."""


class BadEntryPoint(LaunchError, ValueError):
    """The entry point's name or object cannot be used."""


class BadInputs(LaunchError, ValueError):
    """Inputs that cannot be sent to the cluster."""


class LaunchUnavailable(LaunchError):
    """The cluster, the pool or the transport cannot keep a launch now; nothing was started."""


class PayloadTooLarge(KodosumiError, ValueError):
    """One event's payload is larger than any transport takes.

    Attributes:
        kind: of the event.
        size_bytes: what it takes. max_bytes: what is allowed.
    """

    def __init__(self, kind: str, size_bytes: int, max_bytes: int) -> None:
        super().__init__(kind, size_bytes, max_bytes)
        self.kind = kind
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes

    def __str__(self) -> str:
        return (
            f"The {self.kind} event has {self.size_bytes:,} bytes, the limit (KODO_MAX_EVENT_BYTES) is "
            f"{self.max_bytes:,}: return a file or less."
        )


class LockError(KodosumiError):
    """Base of what goes wrong with a lock."""


class UnknownLock(LockError, LookupError):
    """The app has no ``@app.lock`` of the name that user code asked for; the text names both."""


class NotOpen(LockError):
    """Base of what is said of a lock that can't be answered.

    Attributes:
        fid: the execution. lid: the lock.
    """

    _text = ""

    def __init__(self, fid: str, lid: str) -> None:
        super().__init__(fid, lid)
        self.fid, self.lid = fid, lid

    def __str__(self) -> str:
        return f"Lock {self.lid} for {self.fid} {self._text}."


class LockNotFound(NotOpen, KeyError):
    """No such lock, or its run is over."""

    _text = "not found"


class LockReleased(NotOpen):
    """The lock has its answer, or has expired."""

    _text = "released"


class FileError(KodosumiError):
    """Base of what goes wrong with files."""


class BadPath(FileError, ValueError):
    """A file name that would leave its folder, or that no system can keep; the text says why."""


class FileMissing(FileError, FileNotFoundError):
    """No such file or folder."""


class FilesUnavailable(FileError):
    """The file store or the panel cannot be reached or written now; the text gives the reason."""


class TransportError(KodosumiError):
    """Base of what a transport raises.

    Attributes:
        fid: the execution concerned, or None.
    """

    def __init__(self, message: str = "", fid: str | None = None) -> None:
        super().__init__(message)
        self.fid = fid

    def __reduce__(self) -> tuple[type[TransportError], tuple[str, str | None]]:
        return type(self), (str(self), self.fid)


class TransportUnavailable(TransportError):
    """The transport cannot be reached now; trying again later is safe."""


class TransportLost(TransportError):
    """Accepted events of this execution are gone with the transport's own storage."""


class ExecutionClosed(TransportError):
    """The execution has its terminal event; nothing may follow it."""


class AttemptOver(ExecutionClosed):
    """A later attempt of the execution has begun; nothing of an earlier one is taken any more."""


class StoreError(KodosumiError):
    """Base of what a store raises."""


class StoreUnavailable(StoreError):
    """The store cannot be written or read now; the text gives the reason, trying again later is safe."""


class ExecutionNotFound(StoreError, KeyError):
    """No execution with this id.

    Attributes:
        fid: the id asked for.
    """

    def __init__(self, fid: str) -> None:
        super().__init__(fid)
        self.fid = fid

    def __str__(self) -> str:
        return f"Execution {self.fid} not found."


class WebhookError(KodosumiError):
    """A receiver of the webhook did not take a message; the text gives the reason.

    Attributes:
        gone: it says that it never will.
    """

    def __init__(self, message: str = "", *, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone


class ClusterError(KodosumiError):
    """Ray cannot be reached, joined or started; the text says what to do."""
