"""An installed package, without the checkout, brings its migrations along."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from kodosumi.schema import REVISIONS
from tests.integration.schema.processes import KOCO

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_a_wheel_has_every_migration_and_no_leftovers(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    scripts = {
        f"kodosumi/{path.relative_to(CHECKOUT)}"
        for path in (CHECKOUT / "migrations").rglob("*")
        if path.suffix in (".py", ".mako")
    }
    assert len(scripts) == 2 + sum(len(revisions) for revisions in REVISIONS.values())
    assert scripts | {"kodosumi/alembic.ini", "kodosumi/py.typed"} <= names
    assert [name for name in names if "__pycache__" in name] == []


def test_an_installed_package_migrates(wheel: Path, tmp_path: Path, url: str) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    # The package comes from the wheel, what it needs from here: this file names the folder, and reads no other in it.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    zipfile.ZipFile(wheel).extractall(site)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("KODO_", "PYTHON"))}
    variables |= {"KODO_ADMIN_DATABASE": f"sqlite+aiosqlite:///{tmp_path}/admin.db", "KODO_EXECUTION_DATABASE": url}

    def run(*arguments: str) -> str:
        python = [str(environment / "bin" / "python"), *arguments]
        done = subprocess.run(python, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", "import kodosumi; print(kodosumi.__file__)").startswith(str(site))
    said = run(*KOCO, "db", "--upgrade")
    assert said.count("(current)") == 2, said
    run(*KOCO, "db", "--check")
