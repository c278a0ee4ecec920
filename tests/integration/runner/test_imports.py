"""A runner process is light: it starts in a fraction of a second, and many of them fit on one machine."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import kodosumi.runner.main, kodosumi.transport.ray, kodosumi.core
from kodosumi.core import Tracer, TracerMock
heavy = {"fastapi", "starlette", "sqlalchemy", "ray.serve", "pandas", "crewai", "uvicorn", "jinja2", "temporalio"}
print(sorted(heavy & set(sys.modules)))
"""


def test_a_runner_imports_no_web_framework_and_no_database() -> None:
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_runner_itself_needs_no_science() -> None:
    code = "import sys, kodosumi.runner.main; print(sorted({'numpy', 'pandas', 'ray'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
