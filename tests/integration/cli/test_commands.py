"""The real command in processes of its own, and what a process imports for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kodosumi.service.database import TABLE_MODULES


def koco(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "kodosumi.cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_setting_that_cannot_be_read_is_one_plain_line(tmp_path: Path) -> None:
    result = koco("vacuum", KODO_APP_WORKERS="many", KODO_EXEC_DIR=str(tmp_path))

    assert result.returncode == 2
    assert "KODO_APP_WORKERS='many'" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_option_that_cannot_be_read_names_its_variable() -> None:
    result = koco("spool", "--batch-size", "0")

    assert result.returncode == 2
    assert "KODO_SPOOLER_BATCH_SIZE" in result.stderr


def test_an_age_that_cannot_be_read_says_what_would_be_valid(tmp_path: Path) -> None:
    result = koco("vacuum", "--older-than", "soon", KODO_EXEC_DIR=str(tmp_path))

    assert (result.returncode, "7d" in result.stderr) == (2, True)


def test_looking_at_help_creates_nothing_on_disk(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "kodosumi.cli", "--help"], cwd=tmp_path, check=True, capture_output=True)

    assert list(tmp_path.iterdir()) == []


def test_every_module_that_brings_a_table_is_named() -> None:
    code = (
        "import sys, importlib, pkgutil, kodosumi.service.database as d\n"
        "[importlib.import_module(name, 'kodosumi.service') for name in d.TABLE_MODULES]\n"
        "named = set(d.Base.metadata.tables)\n"
        "import kodosumi.service as s\n"
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(s.__path__, 'kodosumi.service.')]\n"
        "sys.exit(str(set(d.Base.metadata.tables) - named) if set(d.Base.metadata.tables) != named else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert TABLE_MODULES


def test_asking_how_a_database_stands_imports_neither_alembic_nor_sqlalchemy(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\nfrom kodosumi import schema\nfrom kodosumi.config import Settings\n"
        "asyncio.run(schema.require_current(Settings(admin_database=sys.argv[1], _env_file=None)))\n"
        "sys.exit(bool({'alembic', 'sqlalchemy'} & set(sys.modules)))\n"
    )
    assert (
        subprocess.run([sys.executable, "-c", code, f"sqlite+aiosqlite:///{tmp_path}/admin.db"], check=False).returncode
        == 0
    )
