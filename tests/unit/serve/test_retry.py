"""``@app.enter(…, retry=…)``: from the endpoint's decorator to the run."""

from __future__ import annotations

import json
from typing import Any

import cloudpickle
import pytest
from fastapi import Request

from kodosumi import forms as F
from kodosumi.core import Launch, Retry
from kodosumi.endpoint import meta_of
from kodosumi.serve import ServeAPI

from .conftest import Client, NotedMode

FORM = F.Model(F.Submit("go"))


class Busy(Exception):
    """What an author has called again for."""


def app_with(**keywords: Any) -> ServeAPI:
    app = ServeAPI()

    @app.enter("/", FORM, summary="S", **keywords)
    async def launching(request: Request) -> Any:
        return Launch(request, f"{__name__}:entry", inputs=1)

    app.state.launching = launching
    return app


async def test_the_runs_of_an_endpoint_carry_its_retry_by_name_alone(client_of: Client, mode: NotedMode) -> None:
    app = app_with(retry=Retry(max_attempts=5, on=[Busy, ConnectionError, "my.Error"], delay=2))
    expected = Retry(5, (f"{__name__}.Busy", "builtins.ConnectionError", "my.Error"), 2.0)
    async with client_of(app) as client:
        assert (await client.post("/", json={})).status_code == 200
        shown = (await client.get("/")).json()
    [spec] = mode.specs
    assert spec.retry == expected
    # It's nobody else's business.
    assert set(shown) == {"summary", "openapi_extra", "elements"}
    assert "retry" not in json.loads(spec.meta_payload)["dict"]
    copy = cloudpickle.loads(cloudpickle.dumps(app))
    meta = meta_of(copy.state.launching)
    assert meta is not None and meta.retry == expected


async def test_without_it_no_code_is_called_again(client_of: Client, mode: NotedMode) -> None:
    async with client_of(app_with()) as client:
        await client.post("/", json={})
    assert mode.specs[0].retry is None


@pytest.mark.parametrize("retry", [3, Retry(max_attempts=0), Retry(delay=-1.0), Retry(on=[int])])  # type: ignore[list-item]
def test_a_retry_that_makes_no_sense_is_refused_where_it_is_written(retry: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"retry|Retry\("):
        app_with(retry=retry)
