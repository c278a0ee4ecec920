"""An upload to the panel: all files in chunks, some at once, and at the end everything is put in place."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...error import FileMissing, FilesUnavailable
from .access import Source, changed
from .answers import TooLarge, Unreachable

if TYPE_CHECKING:
    from .panel import PanelAccess

PARALLEL = 3
"""Chunks on their way at once."""

SMALLEST_CHUNK_BYTES = 1_024
"""Whoever refuses even this refuses for another reason."""

_QUOTA = "KODO_UPLOAD_QUOTA"
_GIVE_UP_S = 5.0


class Begun(NamedTuple):
    """A file whose upload has begun.

    Attributes:
        id: of the upload. source: the file. chunk_bytes: of each chunk but the last. chunks: how many.
    """

    id: str
    source: Source
    chunk_bytes: int
    chunks: int


class Sending:
    """One batch.

    Args:
        panel: where to. fid: of the run. chunk_bytes: of a chunk; smaller ones are sent when the panel takes no such.
    """

    def __init__(self, panel: PanelAccess, fid: str, chunk_bytes: int) -> None:
        self._panel = panel
        self._fid = fid
        self._chunk_bytes = chunk_bytes
        self._begun: dict[str, Begun] = {}
        self._batch = ""

    async def send(self, sources: Sequence[Source]) -> str:
        """Sends everything; returns the batch's id when all is in place.

        Raises:
            FilesUnavailable: with the panel's reason; nothing is left there.
        """
        self._batch = str((await self._panel.ask("POST", "init_batch"))["batch_id"])
        try:
            await self._panel.pace.each(self._begin, sources, PARALLEL)
            await self._panel.pace.each(self._send_rest, self._rest(), PARALLEL)
            await self._complete()
        except BaseException:
            await self._give_up()
            raise
        return self._batch

    async def _begin(self, source: Source) -> None:
        """Begins an upload and sends its first chunk, which shows how large chunks may be."""
        while True:
            begun = await self._init(source)
            try:
                if begun.chunks:
                    await self._send_chunk(begun, 0)
                return
            except FilesUnavailable as exc:
                if not self._may_be_smaller(exc, begun):
                    raise
            self._chunk_bytes = min(self._chunk_bytes, begun.chunk_bytes // 2)
            await self._cancel(begun)

    async def _init(self, source: Source) -> Begun:
        chunk_bytes = self._chunk_bytes
        chunks = math.ceil(source.size / chunk_bytes)
        wanted = {"filename": source.name, "total_chunks": chunks, "batch_id": self._batch}
        answer = await self._panel.ask("POST", "init", json=wanted)
        begun = Begun(str(answer["upload_id"]), source, chunk_bytes, chunks)
        self._begun[begun.id] = begun
        return begun

    def _may_be_smaller(self, refusal: FilesUnavailable, begun: Begun) -> bool:
        sent = min(begun.chunk_bytes, begun.source.size)
        return isinstance(refusal, TooLarge) and _QUOTA not in str(refusal) and sent > SMALLEST_CHUNK_BYTES

    def _rest(self) -> Iterator[tuple[Begun, int]]:
        for begun in self._begun.values():
            for number in range(1, begun.chunks):
                yield begun, number

    async def _send_rest(self, chunk: tuple[Begun, int]) -> None:
        await self._send_chunk(*chunk)

    async def _send_chunk(self, begun: Begun, number: int) -> None:
        content = await self._panel.pace.call(_chunk, begun, number)
        await self._panel.ask(
            "POST",
            "chunk",
            data={"upload_id": begun.id, "chunk_number": str(number)},
            files={"chunk": ("chunk", content, "application/octet-stream")},
        )

    async def _complete(self) -> None:
        items = {
            begun.id: {"filename": begun.source.name, "totalChunks": begun.chunks} for begun in self._begun.values()
        }
        await self._panel.ask("POST", f"complete/{self._fid}/{self._batch}/out", json=items)

    async def _give_up(self) -> None:
        """Leaves nothing at the panel, if it can be reached; else the panel removes it after a while."""
        with contextlib.suppress(Unreachable):
            for begun in list(self._begun.values()):
                await self._cancel(begun)

    async def _cancel(self, begun: Begun) -> None:
        del self._begun[begun.id]
        try:
            await self._panel.ask("DELETE", f"cancel/{begun.id}", about=begun.id, again=False, timeout=_GIVE_UP_S)
        except FileMissing:
            pass  # it is in place, or was removed already


def _chunk(begun: Begun, number: int) -> bytes:
    start = number * begun.chunk_bytes
    size = min(begun.chunk_bytes, begun.source.size - start)
    with begun.source.path.open("rb") as file:
        file.seek(start)
        content = file.read(size)
    if len(content) < size:
        raise FilesUnavailable(changed(begun.source))
    return content
