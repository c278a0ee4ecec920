"""Files that came with a form: from the list of uploads in a field to files in a run's ``in/``.

The panel keeps what browsers upload, and puts it into place when the app asks for it with the run's key. What the
field may carry is said in :mod:`kodosumi.forms.files`.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
from starlette.requests import Request

from ..config import process_settings
from ..const import KODOSUMI_API_KEY, hyphened
from ..error import FilesUnavailable
from ..forms import InputFiles, Model
from ..forms.element import empty
from ..forms.files import UploadBatch
from ..identity import RunGrant
from ..runner.spec import RunFiles, UploadedFile

COMPLETION_TIMEOUT_S = 600.0
"""The panel may copy gigabytes for one answer; shorter than KODO_PROXY_TIMEOUT this never is."""

_SHOWN_CHARACTERS = 500


class Uploads:
    """The files of one request: uploaded to the panel, but not yet a run's.

    Args:
        batches: one for each field that has files.
    """

    def __init__(self, batches: tuple[UploadBatch, ...]) -> None:
        self._batches = batches

    async def complete(self, fid: str, files: RunFiles) -> None:
        """As :meth:`kodosumi.launch.PendingUploads.complete`; one request to the panel for each field."""
        async with _client(files) as client:
            for batch in self._batches:
                body = {u.id: {"filename": u.filename, "totalChunks": u.total_chunks} for u in batch.uploads}
                place = f"/files/complete/{quote(fid, safe='')}/{quote(batch.id, safe='')}/in"
                await _asked(client, "POST", place, body)

    async def placed(self, fid: str, files: RunFiles) -> tuple[UploadedFile, ...]:
        """As :meth:`kodosumi.launch.PendingUploads.placed`."""
        async with _client(files) as client:
            listed = await _asked(client, "GET", f"/files/{quote(fid, safe='')}/in")
        try:
            return tuple(
                UploadedFile(str(item["path"]), int(item["size"]), float(item["last_modified"])) for item in listed
            )
        except (TypeError, KeyError, ValueError) as exc:
            raise FilesUnavailable(f"the panel at {files.panel_url} lists files in an unknown way.") from exc


def uploads_of(model: Model, values: Mapping[str, Any]) -> Uploads | None:
    """The uploads that received values list; None when there are none.

    Args:
        model: the form. values: as received, after :meth:`Model.check` had nothing to say about them.
    """
    batches = (field.batch(values.get(field.name)) for field in _fields(model))
    found = tuple(batch for batch in batches if batch is not None)
    return Uploads(found) if found else None


def named_twice(model: Model, values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Messages by field about files that another field has as well: they would become one file.

    Args:
        model, values: as for :func:`uploads_of`.
    """
    seen: set[str] = set()
    found: dict[str, list[str]] = {}
    for field in _fields(model):
        names = field.filenames(values.get(field.name)) or set()
        taken = sorted(names & seen)
        if taken:
            found[field.name] = [f"Another field has {name} as well: please rename one of them." for name in taken]
        seen |= names
    return found


def has_files(model: Model, values: Mapping[str, Any]) -> bool:
    """Whether anything was sent for a file field."""
    return any(not empty(values.get(field.name)) for field in _fields(model))


def needs_panel(request: Request) -> str:
    """What to say to who sends files to an app directly."""
    return (
        f"Files come through a panel, and this request to {request.url.path} did not. Send the form at the panel "
        f"({process_settings().app_server}), where this app is registered; without a browser, upload there with POST "
        f"/files/init and /files/chunk first, and send the list of the uploads."
    )


def grant_of(request: Request) -> RunGrant | None:
    """What the panel granted with a request, or None without a panel."""
    grant: RunGrant | None = getattr(request.state, "grant", None)
    return grant


def _fields(model: Model) -> list[InputFiles]:
    return [child for child in model.children if isinstance(child, InputFiles)]


def _client(files: RunFiles) -> httpx.AsyncClient:
    # As the panel's own client: what the environment says about proxies isn't meant for the way back to it.
    return httpx.AsyncClient(
        base_url=files.panel_url,
        headers={KODOSUMI_API_KEY: files.token, hyphened(KODOSUMI_API_KEY): files.token},
        timeout=max(process_settings().proxy_timeout, COMPLETION_TIMEOUT_S),
        follow_redirects=False,
        trust_env=False,
        verify=_trusted_certificates(),
    )


@functools.cache
def _trusted_certificates() -> ssl.SSLContext:
    # Reading them takes longer than a request.
    return ssl.create_default_context()


async def _asked(client: httpx.AsyncClient, method: str, place: str, body: Any = None) -> Any:
    panel = str(client.base_url).rstrip("/")
    try:
        answer = await client.request(method, panel + place, json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        reason = str(exc) or type(exc).__name__
        raise FilesUnavailable(
            f"the uploaded files could not be put in place, the panel at {panel} cannot be reached ({reason})."
        ) from exc
    if not answer.is_success:
        raise FilesUnavailable(f"the uploaded files could not be put in place, the panel says: {_said(answer)}")
    try:
        return answer.json()
    except ValueError as exc:
        raise FilesUnavailable(f"the panel at {panel} answers about files in an unknown way.") from exc


def _said(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = None
    return detail[:_SHOWN_CHARACTERS] if isinstance(detail, str) and detail else f"{answer.status_code}."
