"""What a request accepts: HTML or JSON, and which methods its path knows."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.routing import Mount, compile_path


def prefers_html(request: Request) -> bool:
    """Whether the client would rather have a page than JSON; ``?format=html|json`` decides when given."""
    wanted = request.query_params.get("format")
    if wanted in ("html", "json"):
        return wanted == "html"
    weights = _weights(request.headers.get("accept", ""))
    return weights.get("text/html", 0.0) > weights.get("application/json", 0.0)


def allowed_methods(request: Request) -> list[str]:
    """Every method that some route of this path answers, sorted, with OPTIONS."""
    path = request.scope.get("path", "/")
    methods = {"OPTIONS"}
    for template, known in route_methods(request.app):
        if compile_path(template)[0].match(path):
            methods |= known
    return sorted(methods)


def route_methods(app: FastAPI) -> list[tuple[str, set[str]]]:
    """Path template and methods of every route of ``app``, mounted folders included as ``GET``."""
    found: list[tuple[str, set[str]]] = []
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, Mount):
            found.append((f"{route.path}/{{path:path}}", {"GET"}))
        elif context.path:
            found.append((context.path, set(context.methods or ())))
    return found


def _weights(accept: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in accept.split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        try:
            weights[kind.lower()] = float(weight)
        except ValueError:
            continue
    return weights
