"""The compose files, the file of secrets and the image, as they are before anything is started."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.containers.project import IMAGE, environment, run, write_env
from tests.stack import ROOT

FULL, DEV, OVERRIDE = "docker-compose.yml", "docker-compose.dev.yml", "docker-compose.override.yml.example"
MOST_BYTES = 1_200_000_000
BUILD_TOOLS = ("gcc", "cc", "g++", "make", "uv", "git")


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """A file of secrets as the script writes it."""
    write_env(tmp_path / ".env")
    return tmp_path / ".env"


def compose(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of Compose in a folder; which variables of ours this process has doesn't matter."""
    command = ["docker", "compose", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("profile", [(), ("--profile", "temporal"), ("--profile", "*")])
@pytest.mark.parametrize("files", [(FULL,), (DEV,), (FULL, OVERRIDE)])
def test_compose_has_nothing_to_say_about_a_file(
    files: tuple[str, ...], profile: tuple[str, ...], env_file: Path
) -> None:
    named = [word for file in files for word in ("--file", file)]

    checked = compose(ROOT, "--env-file", str(env_file), *named, *profile, "config", "--quiet")

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_without_a_file_of_secrets_compose_says_what_to_run(tmp_path: Path) -> None:
    shutil.copy(ROOT / FULL, tmp_path)

    refused = compose(tmp_path, "up", "--detach")

    assert refused.returncode != 0
    assert "scripts/write-env" in refused.stderr


def test_a_file_of_secrets_is_for_its_owner_alone_and_is_never_overwritten(env_file: Path) -> None:
    written = env_file.read_text()

    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    with pytest.raises(AssertionError, match=str(env_file)):
        write_env(env_file)
    assert env_file.read_text() == written


def test_each_file_of_secrets_has_its_own_and_all_that_the_example_names(env_file: Path, tmp_path: Path) -> None:
    write_env(tmp_path / "other")
    first, second, example = map(_variables, (env_file, tmp_path / "other", ROOT / ".env.example"))
    secrets = {name for name in first if name.endswith(("_PASSWORD", "_KEY", "_TOKEN"))}

    assert len(secrets) >= 5
    assert secrets <= set(example)
    assert all(first[name] != second[name] and len(first[name]) >= 20 for name in secrets)
    assert not any(example[name] for name in secrets)


def test_the_image_is_smaller_than_it_may_be() -> None:
    (image,) = json.loads(run(["docker", "image", "inspect", IMAGE]))

    assert image["Size"] < MOST_BYTES


def test_the_image_runs_as_a_user_without_rights_and_holds_no_build_tools() -> None:
    look = f"id -u; for tool in {' '.join(BUILD_TOOLS)}; do command -v $tool; done; true"

    uid, *tools = run(["docker", "run", "--rm", "--network=none", "--entrypoint=sh", IMAGE, "-c", look]).split()

    assert uid != "0"
    assert tools == []


def _variables(path: Path) -> dict[str, str]:
    """What a file of variables sets."""
    lines = (line.partition("=") for line in path.read_text().splitlines() if not line.startswith("#"))
    return {name: text for name, equals, text in lines if equals}
