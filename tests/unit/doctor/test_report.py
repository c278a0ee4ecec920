"""The report of `koco doctor`: a table, JSON, an exit code, and no secret."""

from __future__ import annotations

import json

import pytest

from kodosumi.doctor import Report
from kodosumi.doctor.report import Finding, fine, warning, wrong

GOOD = fine("Python", "3.11.7")
DOUBTFUL = warning("reach", "others too", "Set KODO_SSL_CERTFILE.")
BAD = wrong("redis", "is not installed", "Run `pip install 'kodosumi[redis]'`.")


def report(*findings: Finding) -> Report:
    return Report({"software": list(findings), "security": [DOUBTFUL]})


def test_the_table_has_a_mark_a_line_and_under_it_what_to_do() -> None:
    assert report(GOOD, BAD).as_text().splitlines() == [
        "software",
        "  ✓ Python  3.11.7",
        "  ✗ redis   is not installed",
        "            → Run `pip install 'kodosumi[redis]'`.",
        "",
        "security",
        "  ! reach   others too",
        "            → Set KODO_SSL_CERTFILE.",
        "",
        "1 fine, 1 warning, 1 wrong",
    ]


def test_a_terminal_without_the_marks_gets_others() -> None:
    text = report(GOOD, BAD, fine("folder", "…/käse")).as_text("ascii")
    assert text.isascii() and "  x redis " in text and "  + Python " in text


@pytest.mark.parametrize(("findings", "code"), [((GOOD,), 0), ((GOOD, BAD), 1), ((), 0)])
def test_only_what_is_wrong_makes_the_exit_code_1(findings: tuple[Finding, ...], code: int) -> None:
    assert report(*findings).exit_code == code


def test_json_has_every_finding_with_its_area() -> None:
    told = json.loads(report(GOOD, BAD).as_json())
    assert (told["ok"], told["counts"]) == (False, {"ok": 1, "warning": 1, "wrong": 1})
    assert told["findings"][1] == {
        "area": "software",
        "subject": "redis",
        "state": "wrong",
        "text": "is not installed",
        "remedy": "Run `pip install 'kodosumi[redis]'`.",
    }


def test_secrets_and_line_breaks_are_taken_out_of_every_text() -> None:
    clean = report(wrong("x", "no pass\nword-1\x1b[31m", "Use word-1 or longer-word-1.")).without(
        {"word-1", "longer-word-1"}
    )
    assert clean.areas["software"][0].text == "no pass …\\x1b[31m"
    assert clean.areas["software"][0].remedy == "Use … or …."
