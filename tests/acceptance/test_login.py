"""Logging in, three ways and by page, and out."""

from __future__ import annotations

import httpx
import pytest

from tests.stack import StackProcess


@pytest.mark.parametrize("how", ["get", "form", "json"])
def test_each_way_to_log_in_gives_a_cookie_and_a_key_that_work(stack: StackProcess, how: str) -> None:
    credentials = {"name": "admin", "password": "admin"}
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        match how:
            case "get":
                answer = client.get("/login", params=credentials)
            case "form":
                answer = client.post("/login", data=credentials)
            case _:
                answer = client.post("/api/login", json=credentials)
        key = answer.raise_for_status().json()["KODOSUMI_API_KEY"]
        assert client.get("/flow").status_code == 200

    assert httpx.get(f"{stack.url}/flow", headers={"KODOSUMI_API_KEY": key}, timeout=60).status_code == 200


def test_logging_out_ends_the_session_everywhere(stack: StackProcess) -> None:
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        key = client.post("/api/login", json={"name": "admin", "password": "admin"}).json()["KODOSUMI_API_KEY"]
        client.post("/logout", headers={"Origin": stack.url}).raise_for_status()

    assert httpx.get(f"{stack.url}/flow", headers={"KODOSUMI_API_KEY": key}, timeout=60).status_code == 401


def test_a_wrong_password_is_refused(stack: StackProcess) -> None:
    answer = httpx.post(f"{stack.url}/api/login", json={"name": "admin", "password": "wrong"}, timeout=60)

    assert (answer.status_code, answer.json()["detail"]) == (401, "Invalid name or password")


def test_without_a_login_nothing_is_shown(stack: StackProcess) -> None:
    assert httpx.get(f"{stack.url}/flow", timeout=60).status_code == 401
    assert httpx.get(f"{stack.url}/health/live", timeout=60).status_code == 200
