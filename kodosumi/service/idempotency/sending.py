"""Sends what may launch a run on to its app, once per ``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header).

The key stands for an execution's id before anything is sent, and every request with it carries that id: whatever dies
on the way, the next try launches the same execution again, which is none the second time. The answer that launched it
is kept and given again. A key that surely launched nothing is free again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from ...error import ExecutionNotFound
from ...events import new_fid
from ..auth import User
from ..context import Panel
from ..errors import ApiError
from ..forwarding import LAUNCHING_METHODS, Destination, NotSent, send_on
from ..metering.requests import BEGAN
from .answers import given_again, launched_by, launched_nothing, only_id, taken
from .body import Content, Noting, fingerprint_of, held_back
from .keys import HOLD_S, Claim, Keys

HEADER = "idempotency-key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.5

logger = logging.getLogger(__name__)


async def send_once(
    panel: Panel,
    user: User,
    to: Destination,
    request: Request,
    method: str,
    headers: Iterable[tuple[str, str]],
    content: Content,
) -> httpx.Response:
    """As :func:`~kodosumi.service.forwarding.send_on`; with a key, the answer may be that of an earlier request.

    Raises:
        ApiError: as there, and 400, the key can't be read; 409, the same is still on its way; 422, the key was used
            for another request.
    """
    key = _key_of(request) if method in LAUNCHING_METHODS else None
    if key is None:
        return _measured(panel, request, method, await send_on(panel, user, to, request, method, headers, content))
    # What the app says must be readable for whoever asks again.
    fields = [(name, value) for name, value in headers if name.lower() != "accept-encoding"]
    fields.append(("accept-encoding", "identity"))
    keys = Keys(panel.database, _id(user, method, to, key))
    return await _Launch(panel, user, to, request, method, fields, content, keys).answer()


@dataclass(frozen=True, slots=True)
class _Launch:
    """One request with a key."""

    panel: Panel
    user: User
    to: Destination
    request: Request
    method: str
    headers: list[tuple[str, str]]
    content: Content
    keys: Keys

    async def answer(self) -> httpx.Response:
        """What the app says, or has said."""
        claim = await self._claimed()
        if claim.kept is not None:
            _require_same(claim, await fingerprint_of(self.to.query, self.content))
            return given_again(claim.fid, claim.kept)
        async with _holding(self.keys):
            return await (self._sent_again(claim) if claim.fingerprint else self._sent(claim))

    async def _claimed(self) -> Claim:
        """The key for this request alone, or its answer.

        Raises:
            ApiError: 409, the same request doesn't come to its end.
        """
        fid, pause_s = new_fid(), _SHORTEST_PAUSE_S
        patient_until = time.monotonic() + self.panel.settings.proxy_timeout
        while True:
            claim = await self.keys.claim(fid)
            if claim.held or claim.kept is not None:
                return claim
            if time.monotonic() > patient_until:
                raise ApiError(409, "A request with this Idempotency-Key is still on its way.", {"Retry-After": "1"})
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _sent(self, claim: Claim) -> httpx.Response:
        """Sends the first request of a key."""
        noting = Noting(self.to.query, self._note)
        try:
            response = await self._send(await noting.content(self.content), claim.fid)
        except Exception as exc:
            # What wasn't sent, or not to its end, launched nothing; of anything else nobody knows.
            await self._give_up(free=isinstance(exc, NotSent) or not noting.noted)
            raise
        return await self._settled(response, free=launched_nothing(response))

    async def _sent_again(self, claim: Claim) -> httpx.Response:
        """Sends what was sent before, nobody knows with what success; nothing when the store knows the execution."""
        try:
            if await self._is_stored(claim.fid):
                _require_same(claim, await fingerprint_of(self.to.query, self.content))
                await self.keys.settle(claim.fid, only_id(claim.fid))
                return given_again(claim.fid, only_id(claim.fid))
            async with held_back(self.to.query, self.content) as (fingerprint, content):
                _require_same(claim, fingerprint)
                response = await self._send(content, claim.fid)
        except Exception:
            await self._give_up(free=False)
            raise
        # Whatever it says, the earlier one may still launch.
        return await self._settled(response, free=False)

    async def _send(self, content: Content, fid: str) -> httpx.Response:
        to, request = self.to, self.request
        response = await send_on(self.panel, self.user, to, request, self.method, self.headers, content, fid=fid)
        return _measured(self.panel, request, self.method, response)

    async def _note(self, fingerprint: str) -> None:
        if not await self.keys.note(fingerprint):
            # This process stood still for so long that somebody else sends the same.
            raise ApiError(409, "A request with this Idempotency-Key is still on its way.", {"Retry-After": "1"})

    async def _is_stored(self, fid: str) -> bool:
        try:
            await self.panel.store.execution(fid)
        except ExecutionNotFound:
            return False
        return True

    async def _settled(self, response: httpx.Response, *, free: bool) -> httpx.Response:
        """The answer, after the key is settled by it."""
        fid = launched_by(response)
        if fid is None:
            await self._give_up(free=free)
            return response
        kept, answer = await taken(response, fid)
        try:
            await self.keys.settle(fid, kept)
        except SQLAlchemyError as exc:
            # The run is there: whoever asks again is told so by the store.
            logger.warning("the answer that launched %s is not kept: %s", fid, type(exc).__name__)
        return answer

    async def _give_up(self, *, free: bool) -> None:
        try:
            await (self.keys.free() if free else self.keys.release())
        except SQLAlchemyError as exc:
            # It ends by itself when nobody says that the request is on its way.
            logger.warning("an idempotency key is held a little longer: %s", type(exc).__name__)


@asynccontextmanager
async def _holding(keys: Keys) -> AsyncGenerator[None]:
    """Says for as long as the block lasts that its request is on its way."""

    async def hold() -> None:
        while True:
            await asyncio.sleep(HOLD_S / 3)
            try:
                await keys.hold()
            except SQLAlchemyError as exc:
                logger.warning("an idempotency key cannot be held now: %s", type(exc).__name__)

    holding = asyncio.create_task(hold())
    try:
        yield
    finally:
        holding.cancel()


def _measured(panel: Panel, request: Request, method: str, response: httpx.Response) -> httpx.Response:
    """The answer; when it launched a run, after the time from the request's arrival was noted."""
    began = request.scope.get(BEGAN)
    if began is not None and method in LAUNCHING_METHODS and launched_by(response) is not None:
        panel.meters.launched(time.perf_counter() - began)
    return response


def _key_of(request: Request) -> str | None:
    """The caller's key, None without one.

    Raises:
        ApiError: 400, it can't be one.
    """
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise ApiError(400, "Idempotency-Key: give one, of 1 to 255 visible ASCII characters.")
    return given[0]


def _id(user: User, method: str, to: Destination, key: str) -> str:
    whole = json.dumps([user.id, method, to.address.base, to.path, key])
    return hashlib.sha256(whole.encode()).hexdigest()


def _require_same(claim: Claim, fingerprint: str) -> None:
    # Empty: the app answered before it had all of the request.
    if claim.fingerprint not in ("", fingerprint):
        raise ApiError(422, "This Idempotency-Key was used for another request: take a new one for this.")
