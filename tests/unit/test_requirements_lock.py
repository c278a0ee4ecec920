"""What the image is made of: all that the package needs, in versions that it may have."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement

from tests.stack import ROOT

LOCKED = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)", re.MULTILINE)


def test_the_lock_has_every_requirement_in_a_version_that_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = {_key(name): version for name, version in LOCKED.findall((ROOT / "requirements.lock").read_text())}
    extras = (text for name, texts in project["optional-dependencies"].items() if name != "dev" for text in texts)
    needed = [Requirement(text) for text in (*project["dependencies"], *extras)]

    wrong = [
        f"{each}: {locked.get(_key(each.name), 'absent')}"
        for each in needed
        if _key(each.name) != "kodosumi" and not each.specifier.contains(locked.get(_key(each.name), "0"))
    ]
    assert wrong == [], "run: make lock"


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
