"""``/schema``: the OpenAPI document and a plain page of it, without scripts from elsewhere."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi

from .. import __version__
from .auth import CurrentUser
from .context import PanelContext

router = APIRouter(include_in_schema=False)

_ERROR = {
    "type": "object",
    "required": ["error", "path", "detail", "status_code"],
    "properties": {
        "error": {"type": "string"},
        "path": {"type": "string"},
        "detail": {"type": "string"},
        "status_code": {"type": "integer"},
    },
}
_ANSWERS = {
    "400": "The request cannot be understood",
    "401": "Nobody is logged in",
    "403": "Not allowed",
    "404": "Not found",
    "409": "Conflict",
    "429": "Too many tries",
    "503": "Cannot be served now",
}


@router.get("/schema/openapi.json")
async def document(request: Request, user: CurrentUser) -> dict[str, Any]:
    """The OpenAPI document."""
    return openapi(request.app)


@router.get("/schema")
@router.get("/schema/swagger")
async def page(request: Request, user: CurrentUser, panel: PanelContext) -> Response:
    """Every operation, on a page."""
    context = {"document": openapi(request.app)}
    return panel.templates.TemplateResponse(request, "schema.html", context)


def openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of ``app``, made once, with the published error shape in place of FastAPI's."""
    if app.openapi_schema is None:
        schema = get_openapi(title="kodosumi", version=__version__, routes=app.routes, description=app.description)
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schemas["Error"] = _ERROR
        for operations in schema["paths"].values():
            for operation in operations.values():
                _describe_errors(operation["responses"])
        app.openapi_schema = schema
    return app.openapi_schema


def _describe_errors(responses: dict[str, Any]) -> None:
    responses.pop("422", None)
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for status, description in _ANSWERS.items():
        responses.setdefault(status, {"description": description, "content": content})
