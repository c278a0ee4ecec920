"""The answers that endpoints and locks have in common."""

from __future__ import annotations

import json
from typing import Any

from fastapi.responses import JSONResponse

from ..events import storable
from ..forms import Model
from ..forms.errors import GLOBAL

RETRY_AFTER_S = 5


def refused(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer without a result: ``{"detail": …}``."""
    return JSONResponse({"detail": storable(detail)}, status_code=status, headers=headers)


def unavailable(detail: str) -> JSONResponse:
    """The answer when trying again later helps: 503."""
    return refused(503, detail, {"retry-after": str(RETRY_AFTER_S)})


def with_errors(model: Model, found: dict[str, list[str]]) -> JSONResponse:
    """The form again, with messages by field; ``_global_`` is always among them."""
    messages = {GLOBAL: [], **found}
    errors = {storable(name): [storable(text) for text in texts] for name, texts in messages.items()}
    return JSONResponse({"errors": errors, "elements": elements_of(model)})


def elements_of(model: Model) -> list[dict[str, Any]]:
    """A form's elements, all of them values of JSON."""
    elements: list[dict[str, Any]] = json.loads(model.get_model_json())["elements"]
    return elements
