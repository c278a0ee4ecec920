"""Apps of `koco start`: their names, their paths."""

from __future__ import annotations

import pytest

from kodosumi.error import ConfigurationError
from kodosumi.start.apps import load, route_prefixes


def test_a_single_app_is_at_the_root() -> None:
    assert route_prefixes(["my_service.app:fast_app"]) == {"my_service.app:fast_app": "/"}


def test_several_apps_are_at_the_names_of_their_packages() -> None:
    prefixes = route_prefixes(["hello.app:fast_app", "a.deep.package.app:x", "plain:fast_app"])

    assert list(prefixes.values()) == ["/hello", "/package", "/plain"]


def test_an_app_given_twice_is_one_app() -> None:
    assert route_prefixes(["hello.app:x", "hello.app:x"]) == {"hello.app:x": "/"}


@pytest.mark.parametrize("names", [["hello"], ["hello.app"], [":x"], ["hello:"], ["a.hello.app:x", "b.hello.app:x"]])
def test_a_name_that_cannot_be_used_is_refused_by_name(names: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=names[-1]):
        route_prefixes(names)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no_such_module:app", "no_such_module"), ("json:nothing", "nothing"), ("json:dumps", "is function")],
)
def test_what_cannot_be_loaded_is_explained(name: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        load(name)


def test_an_app_beside_those_of_others_leaves_the_root_alone() -> None:
    assert route_prefixes(["my_agent.app:fast_app"], one_at_root=False) == {"my_agent.app:fast_app": "/my_agent"}
