"""The apps behind a source and their flows: read from the network, merged with what was known, kept as JSON."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from typing import Any

import httpx

from ...config import Settings
from .address import OPENAPI, Address, BadAddress, SourceAddress, clean_prefix
from .document import Endpoint, as_data, endpoints_of, from_data
from .fetch import SourceError, fetch_json

MAX_APPS = 500
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class App:
    """One app of a source.

    Attributes:
        address: where it is.
        endpoints: its flows.
        stale: it could not be read lately.
    """

    address: Address
    endpoints: list[Endpoint]
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading a source.

    Attributes:
        apps: None when the source itself could not be read; an app that could not be is stale and without flows.
        error: why, empty when all went well.
    """

    apps: list[App] | None
    error: str = ""


async def read_source(client: httpx.AsyncClient, source: SourceAddress, settings: Settings) -> Reading:
    """Reads a source with all its apps; never raises for what the network does."""
    try:
        if not source.lists_apps:
            document = await fetch_json(client, source.url, settings)
            return Reading([App(source.root, endpoints_of(document, source.root, source.url))])
        addresses = _applications(await fetch_json(client, source.url, settings), source.root)
    except SourceError as exc:
        return Reading(None, str(exc))
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(address: Address) -> tuple[App, str]:
        async with limit:
            return await _read_app(client, address, settings)

    answers = await asyncio.gather(*(one(address) for address in addresses))
    return Reading([app for app, _ in answers], " ".join(problem for _, problem in answers if problem))


def merged(known: list[App], reading: Reading) -> list[App]:
    """What is known after a reading: an app that could not be read keeps its flows, marked stale."""
    if reading.apps is None:
        return [replace(app, stale=True) for app in known]
    before = {app.address: app for app in known}
    return [replace(before.get(app.address, app), stale=True) if app.stale else app for app in reading.apps]


def to_text(apps: list[App]) -> str:
    """JSON of apps, the same for the same apps."""
    return json.dumps([_app_data(app) for app in apps], separators=(",", ":"))


def from_text(text: str) -> list[App]:
    """Apps as :func:`to_text` wrote them."""
    return [
        App(
            Address(each["scheme"], each["host"], each["port"], each["prefix"]),
            [from_data(endpoint, each["stale"]) for endpoint in each["endpoints"]],
            each["stale"],
        )
        for each in json.loads(text)
    ]


def _app_data(app: App) -> dict[str, Any]:
    address = app.address
    return {
        "scheme": address.scheme,
        "host": address.host,
        "port": address.port,
        "prefix": address.prefix,
        "stale": app.stale,
        "endpoints": [as_data(replace(endpoint, stale=False)) for endpoint in app.endpoints],
    }


def _applications(routes: object, root: Address) -> list[Address]:
    # The keys are prefixes. One that is no plain path could lead to another host, so it counts as not there.
    if not isinstance(routes, dict):
        raise SourceError(f"{root.base} does not list its applications as a JSON object.", answered=True)
    found: dict[Address, None] = {}
    for prefix in list(routes)[:MAX_APPS]:
        try:
            found[replace(root, prefix=root.prefix + clean_prefix(prefix))] = None
        except BadAddress:
            continue
    return list(found)


async def _read_app(client: httpx.AsyncClient, address: Address, settings: Settings) -> tuple[App, str]:
    url = address.base + OPENAPI
    try:
        return App(address, endpoints_of(await fetch_json(client, url, settings), address, url)), ""
    except SourceError as exc:
        # An application without an OpenAPI document is nobody's fault: it has no flows.
        return (App(address, []), "") if exc.answered else (App(address, [], stale=True), str(exc))
