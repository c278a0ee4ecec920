"""The lock files hold every requirement of ``pyproject.toml``, in an admitted version, for each Python and platform."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.stack import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
RENEW = "run: make lock"

PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
ENVIRONMENTS = [
    pytest.param(
        {
            "python_version": python,
            "python_full_version": f"{python}.5",
            "sys_platform": platform,
            "platform_machine": machine,
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "extra": "",
        },
        id=f"{python}-{platform}-{machine}",
    )
    for python in PYTHONS
    for platform, machine in MACHINES
]


def read_pins(lock: str, environment: dict[str, str]) -> dict[str, str]:
    """Versions by name of what a lock file installs in an environment."""
    text = (ROOT / lock).read_text()
    pins: dict[str, str] = {}
    for line in re.findall(r"^[A-Za-z].*", text, re.MULTILINE):
        requirement = Requirement(line.rstrip(" \\"))
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        (pin,) = requirement.specifier
        assert pin.operator == "==", line
        name = canonicalize_name(requirement.name)
        assert pins.setdefault(name, pin.version) == pin.version, f"{name} has two versions"
    return pins


def find_unlocked(texts: list[str], lock: str, environment: dict[str, str]) -> list[str]:
    """Requirements that a lock file lacks, or has in a version that they don't admit."""
    pins = read_pins(lock, environment)
    needed = [requirement for text in texts if (requirement := Requirement(text)).name != "kodosumi"]
    return [
        f"{requirement}: {pins.get(canonicalize_name(requirement.name), 'absent')}"
        for requirement in needed
        if requirement.marker is None or requirement.marker.evaluate(environment)
        if not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"), prereleases=True)
    ]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_locks_have_every_requirement_in_a_version_that_it_admits(environment: dict[str, str]) -> None:
    runtime = [*PROJECT["project"]["dependencies"]]
    for name, texts in EXTRAS.items():
        if name != "dev":
            runtime += texts

    assert find_unlocked(runtime, "requirements.lock", environment) == [], RENEW
    assert find_unlocked(runtime + EXTRAS["dev"], "requirements-dev.lock", environment) == [], RENEW
    build = PROJECT["build-system"]["requires"]
    assert find_unlocked(build, "requirements-build.lock", environment) == [], RENEW


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_tested_is_what_is_shipped(environment: dict[str, str]) -> None:
    tested = read_pins("requirements-dev.lock", environment)
    for lock in ("requirements.lock", "requirements-build.lock"):
        shipped = read_pins(lock, environment)
        assert shipped.items() <= tested.items(), RENEW


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "requirements-build.lock"])
def test_every_pin_has_hashes_and_no_lock_names_an_index(lock: str) -> None:
    text = (ROOT / lock).read_text()
    pins = re.split(r"^(?=[A-Za-z])", text, flags=re.MULTILINE)[1:]

    assert [pin.splitlines()[0] for pin in pins if "--hash=sha256:" not in pin] == []
    assert "://" not in text
