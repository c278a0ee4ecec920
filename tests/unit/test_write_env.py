"""`scripts/write-env`: secrets nobody can guess, in a file that only its owner reads, never over one that is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SECRETS = ("KODO_ADMIN_PASSWORD", "KODO_SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "RAY_AUTH_TOKEN")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what the script needs."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(CHECKOUT / "scripts/write-env", tmp_path / "scripts")
    shutil.copy(CHECKOUT / ".env.example", tmp_path)
    return tmp_path


def write_env(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "scripts/write-env"], cwd=checkout, capture_output=True, text=True)


def secrets_of(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([A-Z_]+)=([0-9a-f]+)$", path.read_text(), re.MULTILINE))


def test_every_secret_is_written_and_differs(checkout: Path) -> None:
    written = write_env(checkout)

    found = secrets_of(checkout / ".env")
    assert set(found) == set(SECRETS)
    assert len(set(found.values())) == len(SECRETS)
    assert all(len(value) >= 24 for value in found.values())
    assert found["KODO_ADMIN_PASSWORD"] in written.stdout
    assert (checkout / ".env").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_there_stays(checkout: Path) -> None:
    (checkout / ".env").write_text("POSTGRES_PASSWORD=mine\n")

    refused = write_env(checkout)

    assert refused.returncode == 1
    assert (checkout / ".env").read_text() == "POSTGRES_PASSWORD=mine\n"
    assert "stays as it is" in refused.stderr
    assert [path.name for path in checkout.glob(".env.[0-9]*")] == []


def test_the_example_gives_no_secret(checkout: Path) -> None:
    assert not secrets_of(checkout / ".env.example")


def test_the_stack_asks_for_each_secret_and_says_how_to_get_it() -> None:
    text = (CHECKOUT / "docker-compose.yml").read_text()
    for name in SECRETS:
        assert f"${{{name}:?run scripts/write-env}}" in text
