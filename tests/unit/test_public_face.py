"""What authors and scripts import, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version

import pytest

import kodosumi
import kodosumi.core

PUBLISHED = [
    "kodosumi.config:InternalSettings",
    "kodosumi.config:Settings",
    "kodosumi.const:KODOSUMI_LAUNCH",
    "kodosumi.dtypes:File",
    "kodosumi.dtypes:HTML",
    "kodosumi.dtypes:Markdown",
    "kodosumi.dtypes:Text",
    "kodosumi.dtypes:Upload",
    "kodosumi.error:KodosumiError",
    "kodosumi.response:HTML",
    "kodosumi.response:Markdown",
    "kodosumi.response:Text",
    "kodosumi.service.app:create_app",
    "kodosumi.service.inputs.errors:InputsError",
    "kodosumi.service.inputs.forms:Checkbox",
    "kodosumi.service.inputs.forms:InputFiles",
    "kodosumi.service.inputs.forms:InputPassword",
    "kodosumi.service.inputs.forms:Model",
    "kodosumi.service.server:run",
    "kodosumi.runner.files:AsyncFileSystem",
    "kodosumi.runner.files:SyncFileSystem",
    "kodosumi.spooler:run",
]

HEAVY = ["ray", "fastapi", "starlette", "sqlalchemy", "pydantic", "numpy", "uvicorn"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_published_can_be_imported(name: str) -> None:
    module, _, attribute = name.partition(":")

    assert hasattr(import_module(module), attribute)


def test_the_core_hands_on_what_authors_need_and_no_more() -> None:
    assert kodosumi.core.__all__ == [
        "InputsError",
        "KodosumiError",
        "Launch",
        "Retry",
        "ServeAPI",
        "Templates",
        "Tracer",
        "TracerMock",
        "forms",
        "response",
    ]
    assert all(hasattr(kodosumi.core, name) for name in kodosumi.core.__all__)


def test_the_version_is_the_packages() -> None:
    assert kodosumi.__version__ == version("kodosumi")


@pytest.mark.parametrize("module", ["kodosumi", "kodosumi.core"])
def test_importing_is_light(module: str) -> None:
    probe = f"import sys, {module}; print(*(name for name in {HEAVY} if name in sys.modules))"

    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split()

    assert loaded == []


def test_a_tracer_alone_needs_no_web_framework() -> None:
    probe = (
        "import sys; from kodosumi.core import Tracer\n"
        "print([name for name in ('fastapi', 'starlette', 'sqlalchemy') if name in sys.modules])"
    )

    printed = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"
