"""A runner process is light: it starts in a fraction of a second, and many of them fit on one machine."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import kodosumi.runner.main, kodosumi.runner.crew, kodosumi.core
{transport}
from kodosumi.core import Tracer
heavy = ["fastapi", "starlette", "sqlalchemy", "ray.serve", "numpy", "pandas", "crewai", "uvicorn", "httpx", "jinja2"]
print(sorted(name for name in heavy if name in sys.modules))
"""


def imported(transport: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", CODE.format(transport=transport)], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def test_the_runner_imports_no_web_framework_no_database_and_no_science() -> None:
    assert imported("") == "[]"
