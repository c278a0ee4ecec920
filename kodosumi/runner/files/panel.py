"""A run's files through the panel's files API, with the run's own token: the way from any machine.

What breaks is tried again for a while (``patience.py``), and a download goes on where it broke. Uploading is a part
of its own (``sending.py``).
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ...const import TOKEN_KEY
from ...error import BadPath, FileMissing, FilesUnavailable
from .access import RunFile, Source, missing
from .answers import Broken, TooLarge, Unreachable, detail_of
from .pace import Pace
from .patience import Patience
from .sending import Sending

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 300.0
_AGAIN = frozenset({429, 502, 503, 504})
_DEFAULT_PORTS = {"http": 80, "https": 443}


class PanelAccess:
    """The member for the panel.

    Args:
        fid: of the run. panel_url: address of the panel. jwt: the run's token, or a user's.
        pace: how to wait.
    """

    def __init__(self, fid: str, panel_url: str, jwt: str, pace: Pace) -> None:
        self._fid = quote(fid, safe="")
        self._address = panel_url.rstrip("/") + "/files/"
        self.pace = pace
        try:
            origin = _origin(self._address)
        except ValueError as exc:
            raise FilesUnavailable(f"The panel's address {panel_url} cannot be used: {exc}") from exc

        def same_origin(request: httpx.Request) -> None:
            # A redirect to another host would hand the token to it.
            if _origin(str(request.url)) != origin:
                raise FilesUnavailable(
                    f"The panel at {panel_url} redirects to {request.url.scheme}://{request.url.netloc.decode()}, "
                    "which must not get this run's token: use that address for the panel."
                )

        self._browser = pace.browser(
            watch=same_origin,
            cookies={TOKEN_KEY: jwt},
            headers={"Accept": "application/json, application/octet-stream", "Accept-Encoding": "identity"},
            timeout=TIMEOUT_S,
            follow_redirects=True,
            trust_env=False,
            # Reading the certificates takes longer than all else here.
            verify=ssl.create_default_context() if origin[0] == "https" else False,
        )

    async def below(self, root: str) -> list[RunFile]:
        """As in the contract."""
        found = await self.ask("GET", f"{self._fid}/{root}")
        return [RunFile(file["path"], file["size"], file["last_modified"]) for file in found or ()]

    async def read(self, path: str, piece_bytes: int) -> AsyncGenerator[bytes, None]:
        """As in the contract; a connection that breaks is made anew, and goes on where it broke."""
        at, etag, patience = 0, "", Patience(self.pace)
        while True:
            reason, cause = "", None
            try:
                async with self._answer("GET", self._file(path), headers=_from(at, etag)) as response:
                    reason = await self._judge(response, path)
                    if not reason:
                        etag = _same_file(response, path, at, etag)
                        async with aclosing(self._browser.pieces(response, piece_bytes)) as pieces:
                            async for piece in pieces:
                                at += len(piece)
                                patience.renew()
                                yield piece
                        return
            except Broken as exc:
                reason, cause = str(exc), exc.__cause__
            await patience.after(reason, cause)

    async def remove(self, path: str) -> None:
        """As in the contract."""
        await self.ask("DELETE", self._file(path), about=path)

    async def upload(self, sources: Sequence[Source], chunk_bytes: int) -> str:
        """As in the contract."""
        return await Sending(self, self._fid, chunk_bytes).send(sources)

    async def close(self) -> None:
        """As in the contract."""
        await self._browser.close()

    async def ask(self, method: str, path: str, about: str = "", *, again: bool = True, **options: Any) -> Any:
        """The JSON that the panel answers, None without a body.

        Args:
            method: of the request. path: below ``/files/``. about: the path that a 404 is about, if it is.
            again: whether what breaks is tried again. options: of the request, as httpx knows them.

        Raises:
            TooLarge: 413. FileMissing: 404 about a path. BadPath: 400 about a path. Unreachable: it wasn't tried
                again. FilesUnavailable: all else.
        """
        patience = Patience(self.pace)
        broken = False
        while True:
            cause = None
            try:
                async with self._answer(method, path, **options) as response:
                    reason = await self._judge(response, about)
                    if not reason:
                        body = await self._browser.body(response)
                        return json.loads(body) if body else None
            except Broken as exc:
                reason, cause, broken = str(exc), exc.__cause__, True
            except FileMissing:
                if broken and method == "DELETE":
                    return None  # it was removed by the request whose answer was lost
                raise
            except ValueError as exc:
                if isinstance(exc, BadPath):
                    raise
                raise FilesUnavailable(f"What answers at {self._address} is no panel: {exc}") from exc
            if not again:
                raise Unreachable(reason) from cause
            await patience.after(reason, cause)

    def _file(self, path: str) -> str:
        return f"{self._fid}/{quote(path)}"

    @asynccontextmanager
    async def _answer(self, method: str, path: str, **options: Any) -> AsyncIterator[httpx.Response]:
        import httpx

        try:
            response = await self._browser.send(method, self._address + path, **options)
            try:
                yield response
            finally:
                await self._browser.release(response)
        except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.LocalProtocolError, httpx.InvalidURL) as exc:
            raise FilesUnavailable(f"The panel's address {self._address} cannot be used: {exc}") from exc
        except httpx.HTTPError as exc:
            text = str(exc) or type(exc).__name__
            raise Broken(f"The panel at {self._address} cannot be reached: {text}") from exc

    async def _judge(self, response: httpx.Response, about: str) -> str:
        """Why to try again; "" when it is a success.

        Raises:
            As :meth:`ask`.
        """
        if response.is_success:
            return ""
        status = response.status_code
        reason = detail_of(await self._browser.body(response)) or response.reason_phrase
        if status == 404 and about:
            raise FileMissing(missing(about))
        if status == 400 and about:
            raise BadPath(reason)
        if status == 416:
            raise FilesUnavailable(_replaced(about))
        if status == 413:
            raise TooLarge(reason)
        said = f"The panel refuses: {reason} (HTTP {status})"
        if status in _AGAIN:
            return said
        raise FilesUnavailable(said)


def _from(at: int, etag: str) -> dict[str, str]:
    if not at:
        return {}
    return {"Range": f"bytes={at}-"} | ({"If-Range": etag} if etag else {})


def _same_file(response: httpx.Response, path: str, at: int, etag: str) -> str:
    """The file's tag, if what goes on is what was begun.

    Raises:
        FilesUnavailable: it isn't.
    """
    now = response.headers.get("etag", "")
    begins = response.headers.get("content-range", "").startswith(f"bytes {at}-")
    if at and (response.status_code != 206 or not begins or (etag and now != etag)):
        raise FilesUnavailable(_replaced(path))
    return str(now)


def _replaced(path: str) -> str:
    return f"{path} was replaced while it was read; read it again."


def _origin(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
