"""``/outputs/html/{fid}``: the result as a document that stands alone, to be printed or kept."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ..events import EventKind
from ..runner.formatter import convert
from ..store import Execution
from .context import Panel
from .timeline_item import iso_time

_STYLE = Path(__file__).parent / "admin" / "static" / "result.css"


async def result_response(panel: Panel, request: Request, execution: Execution, final: str) -> Response:
    """The document.

    Args:
        panel: for its templates.
        request: the request it answers.
        execution: an ended one.
        final: the wrapped JSON of its result or error.
    """
    body = await asyncio.to_thread(convert, EventKind.FINAL, final, f"/outputs/raw/{execution.fid}")
    style, policy = _style()
    context = {
        "execution": execution,
        "title": execution.meta.get("summary") or execution.meta.get("entry_point") or execution.fid,
        "finished": iso_time(execution.finished_at),
        "body": body,
        "style": style,
    }
    headers = {"Content-Security-Policy": policy}
    return panel.templates.TemplateResponse(request, "result.html", context, headers=headers)


@cache
def _style() -> tuple[str, str]:
    """The style sheet inside the document, and the policy that allows it by its hash and nothing else."""
    style = _STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; frame-ancestors 'none'"
    return style, policy
