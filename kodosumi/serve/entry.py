"""One ``@app.enter``: the form it shows, and what happens when the form comes back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fastapi.responses import JSONResponse
from starlette.requests import Request

from ..const import KODOSUMI_LAUNCH, hyphened
from ..endpoint import EndpointMeta, serving
from ..error import LaunchError, LaunchUnavailable
from ..forms import InputsError, Model
from ..forms.pattern import check_declared
from ..launch import UPLOADS, launch_headers
from .answers import elements_of, refused, unavailable, with_errors
from .body import BodyError, read_fields
from .calling import call, check_parameters
from .uploads import grant_of, has_files, named_twice, needs_panel, uploads_of

logger = logging.getLogger(__name__)

OFFERED = ("inputs", "request")
NOT_A_LAUNCH = "kodosumi endpoint must return a Launch object or raise an InputsError"


class Entry:
    """An author's endpoint with its form. A request never changes it.

    Args:
        function: the author's. model: the form. meta: what launches made by it carry.
        published: further keys of the GET answer.

    Raises:
        TypeError: the function has parameters that nothing is given for.
    """

    def __init__(
        self, function: Callable[..., Any], model: Model, meta: EndpointMeta, published: dict[str, Any]
    ) -> None:
        check_parameters(function, OFFERED)
        for child in model.children:
            check_declared(getattr(child, "pattern", None))
        self.function = function
        self.model = model
        self.meta = meta
        self.published = published

    def description(self) -> JSONResponse:
        """The published keywords and the form's elements."""
        return JSONResponse({**self.published, "elements": elements_of(self.model)})

    async def submission(self, request: Request) -> JSONResponse:
        """The answer to a form: the execution's id, messages at the fields, or why there is neither."""
        try:
            return await self._launched(request, await read_fields(request))
        except InputsError as exc:
            return with_errors(self.model, exc.messages())
        except BodyError as exc:
            return refused(400, str(exc))
        except LaunchUnavailable as exc:
            return unavailable(str(exc))
        except LaunchError as exc:
            return refused(400, str(exc))
        except Exception as exc:
            logger.exception("endpoint %s failed", getattr(self.function, "__qualname__", self.function))
            return refused(500, repr(exc))
        finally:
            await request.close()

    async def _launched(self, request: Request, values: dict[str, Any]) -> JSONResponse:
        if has_files(self.model, values) and not _may_bring_files(request):
            return refused(400, needs_panel(request))
        found = self.model.check(values) or named_twice(self.model, values)
        if found:
            return with_errors(self.model, found)
        setattr(request.state, UPLOADS, uploads_of(self.model, values))
        with serving(self.meta):
            returned = await call(self.function, inputs=self.model.parse(values), request=request)
        fid = launched_fid(returned)
        if fid is None:
            return refused(400, NOT_A_LAUNCH)
        # Nobody gets the id of a run that could still turn out not to exist.
        accepted = getattr(returned, "accepted", None)
        if accepted is not None:
            await accepted()
        content = {"result": fid, "elements": elements_of(self.model)}
        return JSONResponse(content, headers=launch_headers(fid))


def launched_fid(returned: object) -> str | None:
    """The execution's id that a handler's answer carries in its headers; None when it is no launch."""
    read = getattr(getattr(returned, "headers", None), "get", None)
    if read is None:
        return None
    fid = read(KODOSUMI_LAUNCH) or read(hyphened(KODOSUMI_LAUNCH))
    return str(fid) if fid else None


def _may_bring_files(request: Request) -> bool:
    grant = grant_of(request)
    return grant is not None and grant.launches
