"""What an app says to a form: asked by the same forwarding that the proxy uses, inside this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import responses
from typing import Any

import httpx
from fastapi import Request

from ...const import KODOSUMI_LAUNCH
from ...events import is_fid, parsed_json
from ..auth import User
from ..context import Panel
from ..flow.address import relocated
from ..forwarding import Destination, bounded_content, send_on
from ..idempotency import send_once

MAX_ANSWER_BYTES = 16 * 1024 * 1024
SHOWN_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What an app said.

    Attributes:
        status: HTTP status.
        text: its body.
        value: the body as JSON, None when it is none.
        launched: fid of the run that it started, or None.
        place: where under the panel a redirect leads, or None.
    """

    status: int
    text: str
    value: Any
    launched: str | None = None
    place: str | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The body as JSON object, empty when it is none."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def errors(self) -> dict[str, Any] | None:
        """Messages by field of a form that was not accepted, else None."""
        errors = self.data.get("errors")
        return errors if self.status == 200 and isinstance(errors, dict) else None

    @property
    def said(self) -> str:
        """What it said, in one line for a user; empty when it said nothing."""
        detail = self.data.get("detail")
        return detail if isinstance(detail, str) else self.readable

    @property
    def readable(self) -> str:
        """The body for a reader's eyes, cut where it is long."""
        known = self.value not in (None, {}, [])
        text = json.dumps(self.value, indent=2, ensure_ascii=False) if known else self.text
        return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + " …"

    @property
    def problem(self) -> str:
        """That and how it failed."""
        status = f"{self.status} {responses.get(self.status, '')}".strip()
        return f"The app answered {status}: {self.said}" if self.said else f"The app answered {status}."


async def ask(
    panel: Panel,
    user: User,
    to: Destination,
    request: Request,
    method: str,
    values: dict[str, Any] | None = None,
    lock_of: str | None = None,
) -> Answer:
    """Asks an app for a form, or gives it one.

    Args:
        panel: this one. user: who asks. to: where. request: the browser's. method: GET or POST.
        values: fields to send. lock_of: fid of the run whose lock is concerned, see :func:`send_on`.

    Raises:
        ApiError: as :func:`send_on` and :func:`bounded_content`.
    """
    headers = [("accept", "application/json"), ("accept-encoding", "gzip, deflate")]
    content = None
    if values is not None:
        headers.append(("content-type", "application/json"))
        content = json.dumps(values).encode()
    if lock_of is None:
        response = await send_once(panel, user, to, request, method, headers, content)
    else:
        response = await send_on(panel, user, to, request, method, headers, content, lock_of)
    return await read_answer(response, panel, to)


async def read_answer(response: httpx.Response, panel: Panel, to: Destination | None = None) -> Answer:
    """What an app has answered, read to its end.

    Args:
        response: of :func:`send_on`; closed afterwards. panel: for its limits. to: where it was asked, for redirects.

    Raises:
        ApiError: as :func:`bounded_content`.
    """
    body = await bounded_content(response, MAX_ANSWER_BYTES, panel.settings.proxy_timeout)
    place = None
    if to is not None and response.is_redirect:
        place = relocated(to.address, to.url, response.headers.get("location", ""))
    text = body.decode("utf-8", "replace")
    value = _json(text)
    launched = value.get("result") if isinstance(value, dict) else None
    launched = launched or response.headers.get(KODOSUMI_LAUNCH)
    started = response.is_success and isinstance(launched, str) and is_fid(launched)
    return Answer(
        status=response.status_code,
        text=text,
        value=value,
        launched=launched if started else None,
        place=place if place is not None and place.startswith("/-/") else None,
    )


def _json(text: str) -> Any:
    try:
        return parsed_json(text)
    except (ValueError, RecursionError):
        return None
