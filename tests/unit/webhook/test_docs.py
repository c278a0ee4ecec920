"""The receiver of the how-to takes what is signed with its secret, and nothing else."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

import httpx
import pytest
import uvicorn

from kodosumi.error import WebhookError
from kodosumi.webhook.courier import Courier
from tests.conditions import until

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to" / "webhook.md"


async def test_the_receiver_of_the_how_to_checks_the_signature(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KODO_WEBHOOK_SECRET", "both know it")
    (code,) = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    namespace: dict[str, object] = {}
    exec(compile(code, str(HOW_TO), "exec", dont_inherit=True), namespace)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(namespace["app"], log_level="warning"))  # type: ignore[arg-type]
    serving = asyncio.create_task(server.serve([listening]))
    await until(lambda: server.started)
    url = httpx.URL(f"http://127.0.0.1:{listening.getsockname()[1]}/kodosumi")
    friend, stranger = Courier(url, "both know it"), Courier(url, "does not know it")
    try:
        await friend.deliver("f-1", "lock", b'{"event": "lock"}')
        assert "{'event': 'lock'}" in capsys.readouterr().out
        with pytest.raises(WebhookError, match="401"):
            await stranger.deliver("f-1", "lock", b'{"event": "lock"}')
        assert capsys.readouterr().out == ""
    finally:
        await friend.close()
        await stranger.close()
        server.should_exit = True
        await serving
        listening.close()
