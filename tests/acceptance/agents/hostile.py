"""An app with every vector in every place.

Its plain routes speak the published shapes by themselves: what an app can say that was not made with kodosumi's own
forms, which might escape or refuse something. Its one entry starts runs that tell the vectors.
"""

from __future__ import annotations

import sys
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse

from kodosumi.core import Launch, ServeAPI, Tracer
from kodosumi.core import forms as F

from .vectors import VECTORS

ALL = "\n".join(VECTORS)

ATTRIBUTES = (
    "label",
    "value",
    "placeholder",
    "size",
    "pattern",
    "min_value",
    "max_value",
    "step",
    "min_length",
    "max_length",
    "min_date",
    "max_date",
    "min_time",
    "max_time",
    "min_datetime",
    "max_datetime",
    "rows",
    "cols",
    "text",
    "multiple",
    "directory",
)
FIELDS = (
    "text",
    "number",
    "password",
    "date",
    "time",
    "datetime-local",
    "textarea",
    "boolean",
    "select",
    "action",
    "file",
)
DISPLAYS = ("html", "markdown", "break", "hr", "errors", "submit", "cancel")


def element(kind: str, vector: str, name: str) -> dict[str, Any]:
    """An element with a vector in every attribute."""
    filled: dict[str, Any] = dict.fromkeys(ATTRIBUTES, vector)
    option: Any = [{"name": vector, "label": vector, "value": vector}] if kind == "select" else vector
    return {"type": kind, "name": name, **filled, "option": option, "error": [vector], "required": vector}


def elements() -> list[dict[str, Any]]:
    """Every kind of element with every vector, also as its name; and what is no element."""
    made = [
        element(kind, vector, f"{kind}-{place}{vector}")
        for place, vector in enumerate(VECTORS)
        for kind in FIELDS + DISPLAYS
    ]
    return [*made, *({"type": vector, "name": vector} for vector in VECTORS), {}, {"type": None}]


app = ServeAPI(title=ALL, description=ALL, version=ALL, docs_url=None, redoc_url=None)


def show() -> Any:
    """The form of all elements."""
    return {"summary": ALL, "description": ALL, "elements": elements()}


def take() -> Any:
    """The form again, with errors at every place and at none."""
    errors = {f"text-{place}{vector}": [vector] for place, vector in enumerate(VECTORS)}
    return {"errors": {**errors, **{vector: [vector] for vector in VECTORS}, "_global_": list(VECTORS)}} | show()


def refuse() -> Any:
    """A refusal that repeats all vectors."""
    return JSONResponse({"detail": ALL}, status_code=400)


def speak() -> Any:
    """An answer that is no form."""
    return {"detail": ALL, ALL: ALL}


def page(place: int) -> Any:
    """A page of the app's own that is one vector."""
    return HTMLResponse(f"<!doctype html><title>{VECTORS[place]}</title><p>{VECTORS[place]}")


for _place, _vector in enumerate(VECTORS):
    app.add_api_route(
        f"/form/{_place}",
        show,
        methods=["GET"],
        summary=f"{_place:03d} {_vector}",
        description=_vector,
        tags=[_vector],
        deprecated=True,
        openapi_extra={"x-kodosumi": True, "x-author": _vector, "x-organization": _vector, "x-version": _vector},
    )
    app.add_api_route(f"/form/{_place}", take, methods=["POST"])
app.add_api_route("/refuse", show, methods=["GET"])
app.add_api_route("/refuse", refuse, methods=["POST"])
app.add_api_route("/speak", speak, methods=["GET"])
app.add_api_route("/page/{place}", page, methods=["GET"])


async def tell(inputs: dict[str, Any], tracer: Tracer) -> dict[str, Any]:
    """Every vector by every way that a run has to tell something."""
    for vector in VECTORS:
        print(vector)
        print(vector, file=sys.stderr)
        await tracer.debug(vector)
        await tracer.warning(vector)
        await tracer.markdown(vector)
        await tracer.html(vector)
        await tracer.text(vector)
        await tracer.action({vector: {vector: [vector]}})
        await tracer.result(vector, [vector], type(vector, (), {"text": vector})() if "\0" not in vector else vector)
    return {vector: vector for vector in VECTORS}


async def answer(inputs: dict[str, Any], tracer: Tracer) -> Any:
    """A result in the asked form."""
    from kodosumi import response

    await tracer.debug(inputs["kind"])
    return getattr(response, inputs["kind"])("\n\n".join(VECTORS))


async def fail(inputs: dict[str, Any], tracer: Tracer) -> None:
    """An end by an exception whose class and text are vectors."""
    raise type(VECTORS[0], (Exception,), {})(ALL)


RUNS = {"tell": tell, "answer": answer, "fail": fail}


@app.enter(
    "/",
    F.Model(F.InputText(name="run"), F.InputText(name="kind"), F.InputArea(name="text"), F.Submit()),
    summary="Hostile",
    author=ALL,
    organization=ALL,
    tags=list(VECTORS),
)
async def enter(request: Request, inputs: dict[str, Any]) -> Any:
    """Starts the run that is asked for."""
    return Launch(request, RUNS[inputs["run"]], inputs=inputs, summary=ALL, description=ALL)
