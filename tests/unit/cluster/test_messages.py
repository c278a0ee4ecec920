"""What Ray tells everybody is logged, and not printed."""

from __future__ import annotations

import logging

import pytest
from ray._private import worker

from kodosumi.cluster.messages import log_messages

KILLED = "2 workers were killed due to memory pressure.\n\nSee the logs."
USUAL = "WARNING: 8 PYTHON worker processes have been started on node: ab with address: 127.0.0.1, which is 4x"


@pytest.mark.parametrize(("text", "level"), [(KILLED, logging.WARNING), (USUAL, logging.DEBUG)])
def test_a_message_is_one_record_and_nothing_is_printed(
    text: str,
    level: int,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Put back at the end; what is there is also called as Ray calls it.
    monkeypatch.setattr(worker, "print_to_stdstream", worker.print_to_stdstream)
    log_messages()
    caplog.set_level(logging.DEBUG, "kodosumi.cluster.messages")

    worker.print_to_stdstream({"lines": [text], "pid": "raylet", "is_err": False}, ignore_prefix=False)

    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (level, f"Ray (raylet): {' '.join(text.split())}")
    assert capsys.readouterr() == ("", "")
