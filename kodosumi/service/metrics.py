"""``/metrics``: what Prometheus reads, for operators and whoever has ``KODO_METRICS_TOKEN``.

The token opens this one route, and asks no database: metrics are there when the admin database isn't.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from .auth import current_user, operator
from .context import PanelContext
from .metering import CONTENT_TYPE, exposition_text

router = APIRouter(tags=["Health"])

_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {}}, "description": "Prometheus' text format, 0.0.4."},
    403: {"description": "Not an operator."},
}


async def metrics_reader(request: Request, panel: PanelContext) -> None:
    """Lets an operator pass, and whoever sends the token.

    Raises:
        Unauthenticated: nobody. ApiError: 403, a user who isn't an operator.
    """
    token = panel.settings.metrics_token
    if token is None or not hmac.compare_digest(_bearer(request), token.encode()):
        await operator(await current_user(request, panel))


@router.get(
    "/metrics", dependencies=[Depends(metrics_reader)], response_class=Response, responses=_ANSWER, summary="Metrics"
)
async def metrics(request: Request, panel: PanelContext) -> Response:
    """Figures for Prometheus: runs, events on their way, launches, requests, this process."""
    found = await request.app.state.figures.metrics()
    # Some thousand lines: nobody's request or stream waits for them.
    text = await asyncio.to_thread(exposition_text, panel.meters.registry, found)
    return Response(text, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})


def _bearer(request: Request) -> bytes:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Headers are bytes that were read as Latin-1; a token may hold anything.
    return given.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
