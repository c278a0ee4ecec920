"""A client that takes next to no time of its own, for figures of which it would be a part."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import urlsplit


class PlainClient:
    """Posts JSON over one connection that stays open.

    Args:
        url: of the server. headers: of every request.
    """

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._place = urlsplit(url)
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._reader: asyncio.StreamReader | None = None

    async def post(self, path: str, values: dict[str, Any]) -> float:
        """When the request was sent, in seconds since the epoch; its answer is read first.

        Raises:
            RuntimeError: the answer isn't 200.
        """
        if self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._place.hostname, self._place.port)
        body = json.dumps(values)
        request = (
            f"POST {path} HTTP/1.1\r\nHost: {self._place.netloc}\r\n{self._headers}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        )
        sent = time.time()
        self._writer.write(request.encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        answer = await self._reader.readexactly(int(head.partition("content-length:")[2].split()[0]))
        if " 200 " not in head.partition("\r\n")[0]:
            raise RuntimeError(f"{path}: {head.splitlines()[0]} {answer.decode()}")
        return sent
