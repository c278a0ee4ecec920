"""A child process of `koco start`: started, waited for, asked to end, started again when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .console import say
from .lifeline import READY

BACK_OFF_FIRST_S, BACK_OFF_LAST_S = 1.0, 30.0
SETTLED_S = 60.0
"""A child that lived this long is started again without delay when it dies."""


class ChildDied(Exception):
    """A child ended before it was ready.

    Attributes:
        code: its exit code.
    """

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} ended with exit code {code} before it was ready")
        self.code = code


class Child:
    """One role in a process, and a session, of its own: a Ctrl-C at the terminal reaches `koco start` alone.

    Args:
        name: the role, as ``python -m kodosumi.start.roles`` takes it.
        arguments: further arguments; never a secret, everyone may read them.
        environment: the child's environment.
        folder: its current folder; ours by default.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
    ) -> None:
        self.name = name
        self._command = [sys.executable, "-m", "kodosumi.start.roles", name, *arguments]
        self._environment = dict(environment)
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._words: dict[str, asyncio.Event] = {}
        self._listening: asyncio.Task[None] | None = None
        self._ending = False

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Starts the process and returns at once."""
        self._forget()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=theirs.fileno(), env=self._environment, cwd=self._folder, start_new_session=True
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._words = {}
        self._listening = asyncio.create_task(self._listen(reader), name=f"words of {self.name}")

    async def ready(self) -> None:
        """Returns when the child says that it serves.

        Raises:
            ChildDied: it ended instead.
        """
        await self._heard_or_died(READY)

    async def ask(self, word: str, answer: str, timeout_s: float) -> bool:
        """Says a word to the child; whether it gave this answer in time."""
        if self._writer is None or self.pid is None:
            return False
        self._words.pop(answer, None)
        try:
            self._writer.write(f"{word}\n".encode())
            await self._writer.drain()
            async with asyncio.timeout(timeout_s):
                await self._heard_or_died(answer)
        except (OSError, ChildDied, TimeoutError):
            return False
        return True

    async def keep_alive(self) -> None:
        """Starts the child again whenever it dies, more slowly each time, and says so. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        pause_s, born = BACK_OFF_FIRST_S, loop.time()
        while True:
            assert self._process is not None
            code = await self._process.wait()
            if self._ending:
                return
            if loop.time() - born > SETTLED_S:
                pause_s = BACK_OFF_FIRST_S
            say(f"{self.name} ended with exit code {code}; starting it again in {pause_s:.0f} s")
            self._kill_group()
            await asyncio.sleep(pause_s)
            pause_s, born = min(pause_s * 2, BACK_OFF_LAST_S), loop.time()
            await self.start()
            with suppress(ChildDied):
                await self.ready()
                say(f"{self.name} runs again")

    async def stop(self, timeout_s: float) -> bool:
        """Asks the child to end and waits; kills it with all its group after the time. Whether it ended by itself."""
        self._ending = True
        if self._process is None:
            return True
        with suppress(ProcessLookupError):
            # Not SIGTERM: on that Ray writes a trace of its own to the terminal first.
            self._process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(timeout_s):
                await self._process.wait()
            return True
        except TimeoutError:
            return False
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends the child and its group at once."""
        self._ending = True
        self._kill_group()
        self._forget()

    def _forget(self) -> None:
        """Lets go of the lifeline to the process that was."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._listening is not None:
            self._listening.cancel()

    def _kill_group(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while line := await reader.readline():
                self._words.setdefault(line.decode().strip(), asyncio.Event()).set()

    async def _heard_or_died(self, word: str) -> None:
        assert self._process is not None
        heard = asyncio.create_task(self._words.setdefault(word, asyncio.Event()).wait())
        died = asyncio.create_task(self._process.wait())
        try:
            await asyncio.wait([heard, died], return_when=asyncio.FIRST_COMPLETED)
            if not heard.done():
                raise ChildDied(self.name, died.result())
        finally:
            heard.cancel()
            died.cancel()
