"""The commands of each example's README, as they are written there (but for the ports)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

from tests.acceptance import walks
from tests.acceptance.conftest import EXAMPLE_NAMES, curl
from tests.sse import read_stream
from tests.stack import EXAMPLES, ROOT, StackProcess


def commands(name: str) -> list[str]:
    """The lines of a README's command block."""
    block = re.search(r"```sh\n(.*?)```", (EXAMPLES / name / "README.md").read_text(), re.DOTALL)
    assert block is not None
    return block[1].strip().splitlines()


@pytest.mark.parametrize("name", EXAMPLE_NAMES)
def test_a_readme_has_three_commands_of_one_shape(name: str) -> None:
    folder, start, call = commands(name)

    assert folder == "cd examples"
    assert start == f"koco start --app {name}.app:fast_app"
    assert call.startswith("curl http://localhost:8000/")


@pytest.mark.parametrize("name", EXAMPLE_NAMES)
def test_the_last_command_of_a_readme_starts_a_run_that_finishes(
    name: str, stack: StackProcess, admin: httpx.Client, tmp_path: Path
) -> None:
    call = commands(name)[2].replace("http://localhost:8000/", f"http://localhost:{stack.serve_port}/{name}/")

    fid = json.loads(curl(call, tmp_path))["result"]

    events = read_stream(admin, f"/outputs/stream/{fid}?extended=true")
    assert events[-2].payload == "finished", [event.payload for event in events if event.kind == "error"]
    assert admin.get(f"/outputs/raw/{fid}").status_code == 200


def test_a_paid_job_that_fails_once_pays_and_asks_once(admin: httpx.Client, flows: dict[str, str]) -> None:
    walks.a_paid_job_pays_and_asks_once(admin, flows["Paid job"])


def test_all_flows_of_the_examples_are_listed(flows: dict[str, str]) -> None:
    assert set(flows) >= {
        "Hello",
        "Every form element",
        "Primes",
        "Primes, plainly",
        "My service",
        "Approval",
        "Documents",
        "Paid job",
    }


def test_the_forms_example_has_every_element() -> None:
    from kodosumi.core import forms

    source = (EXAMPLES / "forms" / "app.py").read_text()
    elements = {"Action", "Break", "Cancel", "Checkbox", "Errors", "HR", "HTML", "InputArea", "InputDate"}
    elements |= {"InputDateTime", "InputNumber", "InputOption", "InputPassword", "InputText", "InputTime", "Markdown"}
    elements |= {"Select", "Submit", "InputFiles"}

    assert [name for name in elements if not hasattr(forms, name)] == []
    assert [name for name in elements if f"F.{name}(" not in source] == []


def test_the_hello_example_has_thirty_lines_of_code() -> None:
    lines = (EXAMPLES / "hello" / "app.py").read_text().splitlines()

    assert len([line for line in lines if line.strip()]) <= 30


def test_make_start_runs_every_example() -> None:
    examples = re.search(r"^EXAMPLES := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert examples is not None
    assert sorted(examples[1].split()) == sorted(EXAMPLE_NAMES)
