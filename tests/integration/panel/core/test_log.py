"""Logs: rotated between processes, one line a record, no query that may hold a password."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from kodosumi.log import LineFormatter, SharedRotatingFile, WithoutQuery, files, logging_config


def record(text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("kodosumi", logging.INFO, __file__, 1, text, args, None)


def test_a_message_stays_on_its_line() -> None:
    line = LineFormatter().format(record("path %s", "/a\nERROR forged\x1b[31m"))
    assert "\n" not in line and "\x1b" not in line and "\\n" in line


def test_two_processes_rotate_one_file_without_losing_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 400)
    path = tmp_path / "logs" / "app.log"
    handlers = [SharedRotatingFile(str(path)) for _ in range(2)]
    for number in range(20):
        handlers[number % 2].emit(record(f"line {number:03d} {'x' * 60}"))
    for handler in handlers:
        handler.close()
    kept = "".join(file.read_text() for file in sorted(path.parent.glob("app.log*"), reverse=True))
    numbers = [int(line.split()[1]) for line in kept.splitlines()]
    assert numbers == list(range(20))
    assert max(file.stat().st_size for file in path.parent.iterdir()) <= 400


def test_the_access_log_has_no_query() -> None:
    access = record('%s - "%s %s HTTP/%s" %d', "127.0.0.1", "GET", "/login?name=a&password=secret", "1.1", 200)
    assert WithoutQuery().filter(access)
    assert "secret" not in access.getMessage() and "/login " in access.getMessage()


def test_levels_are_those_of_the_settings(tmp_path: Path) -> None:
    config = logging_config(tmp_path / "app.log", "DEBUG", "ERROR", "INFO")
    assert config["loggers"]["kodosumi"]["level"] == "DEBUG"
    assert config["handlers"]["terminal"]["level"] == "ERROR"
    assert config["loggers"]["uvicorn"]["level"] == "INFO"
    assert "file" not in logging_config(None, "INFO", "INFO")["handlers"]
