"""The lock files hold every requirement of ``pyproject.toml``, in an admitted version, for each Python and platform."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.stack import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
RUNTIME: list[str] = PROJECT["project"]["dependencies"] + [
    text for extra, texts in EXTRAS.items() if extra != "dev" for text in texts if not text.startswith("kodosumi[")
]
DEV = [text for text in EXTRAS["dev"] if not text.startswith("kodosumi[")]
RENEW = "run: make lock"
HERE = {**default_environment(), "extra": ""}

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
    unlocked = []
    for requirement in map(Requirement, texts):
        version = pins.get(canonicalize_name(requirement.name))
        applies = requirement.marker is None or requirement.marker.evaluate(environment)
        fits = version is not None and requirement.specifier.contains(version, prereleases=True)
        if applies and not fits:
            unlocked.append(f"{requirement}: {version or 'absent'}")
    return unlocked


def find_requirements_of_extras(texts: list[str], lock: str) -> list[str]:
    """What extras, such as ``serve`` of ``ray[serve]``, need here, by the metadata of the installed packages."""
    pins = read_pins(lock, HERE)
    needed = []
    for requirement in map(Requirement, texts):
        name = canonicalize_name(requirement.name)
        # With LATEST=1, other versions may be installed, which need something else.
        if requirement.extras and pins.get(name) == metadata.version(name):
            needed += [
                f"{each.name}{each.specifier}"
                for each in map(Requirement, metadata.requires(name) or [])
                if each.marker and any(each.marker.evaluate({"extra": extra}) for extra in requirement.extras)
            ]
    return needed


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_locks_have_every_requirement_in_a_version_that_it_admits(environment: dict[str, str]) -> None:
    assert find_unlocked(RUNTIME, "requirements.lock", environment) == [], RENEW
    assert find_unlocked([*RUNTIME, *DEV], "requirements-dev.lock", environment) == [], RENEW
    build = [*PROJECT["build-system"]["requires"], "editables"]
    assert find_unlocked(build, "requirements-build.lock", environment) == [], RENEW


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_the_locks_have_what_the_extras_of_requirements_need(lock: str) -> None:
    texts = [*RUNTIME, *(DEV if "dev" in lock else [])]

    assert find_unlocked(find_requirements_of_extras(texts, lock), lock, HERE) == [], RENEW


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
