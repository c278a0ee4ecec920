"""A page with a form of an app: what it shows, and what comes back from it.

What the app said is data: the elements become a form through :class:`~kodosumi.forms.Model`, which escapes them;
everything else is shown as text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastapi import Request, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from ...forms import Model
from ..context import Panel
from ..errors import ApiError
from ..flow.document import Endpoint

MAX_FORM_BYTES = 16 * 1024 * 1024
MAX_FIELDS = 2000
FILES_REFUSED = (
    "Files cannot be sent with a form: they are uploaded before it, in chunks, which this page does by a script. "
    "Allow it, or upload them with POST /files/init and its siblings."
)


@dataclass(slots=True)
class Shown:
    """What the page shows.

    Attributes:
        title: name of the flow or lock. flow: what is registered about a flow, if anything.
        elements: of the form, None when there is none to show.
        values: what was entered. errors: by field.
        problem: what went wrong as a whole. text: what the app said that is no form.
        status: HTTP status of the page.
    """

    title: str
    flow: Endpoint | None = None
    elements: list[Any] | None = None
    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)
    problem: str = ""
    text: str = ""
    status: int = 200


def form_page(request: Request, panel: Panel, shown: Shown, template: str = "inputs.html", **context: Any) -> Response:
    """The page.

    Args:
        request: the browser's. panel: this one. shown: what to show.
        template: ``inputs.html`` or one that extends it. context: what that one needs more.
    """
    form = None
    elements: list[dict[str, Any]] = []
    if shown.elements is not None:
        try:
            elements = [_without_secret(element) for element in shown.elements if isinstance(element, dict)]
            form = _rendered(elements, shown)
        except (TypeError, ValueError, LookupError, AttributeError) as exc:
            shown.problem = f"The form cannot be shown: {type(exc).__name__}. Tell its author."
            shown.status = 502
    kinds = {element.get("type") for element in elements if isinstance(element.get("type"), str)}
    context |= {
        "shown": shown,
        "form": form,
        "has_submit": bool(kinds & {"submit", "action"}),
        "has_files": "file" in kinds,
        "chunk_bytes": panel.settings.save_chunk_size,
    }
    response = panel.templates.TemplateResponse(request, template, context, status_code=shown.status)
    response.headers["Cache-Control"] = "no-store"
    return response


async def fields(request: Request) -> dict[str, Any]:
    """The fields of a sent form, by name; of those sent several times, a list.

    Raises:
        ApiError: 400, it cannot be read, or holds files.
    """
    try:
        async with request.form(max_fields=MAX_FIELDS, max_part_size=MAX_FORM_BYTES) as form:
            items = form.multi_items()
            if any(isinstance(value, UploadFile) and (value.filename or value.size) for _, value in items):
                raise ApiError(400, FILES_REFUSED)
    except HTTPException as exc:
        raise ApiError(exc.status_code, f"The form cannot be read: {exc.detail}") from None
    except ValueError as exc:
        raise ApiError(400, f"The form cannot be read: {exc}") from None
    values: dict[str, Any] = {}
    for name, value in items:
        if isinstance(value, str):
            # Browsers send CRLF, but count and check a text's lines as LF; so do those who write without a browser.
            text = value.replace("\r\n", "\n")
            known = values.get(name)
            values[name] = text if known is None else [*(known if isinstance(known, list) else [known]), text]
    return values


def messages(errors: dict[str, Any]) -> dict[str, list[str]]:
    """An app's messages by field, without what isn't text."""
    found = {}
    for name, given in errors.items():
        texts = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        found[name] = [text for text in texts if isinstance(text, str)]
    return found


def _rendered(elements: list[dict[str, Any]], shown: Shown) -> str:
    model = Model.model_validate(elements, shown.errors)
    if shown.values:
        secrets = {element.get("name") for element in elements if element.get("type") == "password"}
        model.set_data({name: value for name, value in shown.values.items() if name not in secrets})
    return model.render()


def _without_secret(element: dict[str, Any]) -> dict[str, Any]:
    return {**element, "value": None} if element.get("type") == "password" else element
