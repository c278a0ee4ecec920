"""Places under the panel are addresses of apps, one for each, and lead nowhere else."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodosumi.service.flow.address import (
    Address,
    BadAddress,
    clean_prefix,
    flow_place,
    leaves_base,
    relocated,
    source_address,
    split_place,
)

HOSTS = st.sampled_from(["localhost", "example.com", "127.0.0.1", "::1", "fe80::1:2", "a-b.c_d.example"])
PARTS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\?#"), min_size=1, max_size=8)
PREFIXES = st.lists(PARTS.filter(lambda part: part not in (".", "..", "-")), max_size=3)
ADDRESSES = st.builds(
    lambda scheme, host, port, parts: (scheme, host, port, "".join(f"/{part}" for part in parts)),
    st.sampled_from(["http", "https"]),
    HOSTS,
    st.sampled_from([80, 443, 8000, 8443]) | st.integers(1, 65_535),
    PREFIXES,
)


@given(ADDRESSES)
def test_a_place_leads_back_to_its_app(parts: tuple[str, str, int, str]) -> None:
    try:
        address = Address(*parts[:3], clean_prefix(parts[3]))
    except BadAddress:
        return
    assert split_place(f"{address.place}/some/path") == (address, "/some/path")
    assert source_address(f"{address.base}/openapi.json").root == address
    assert httpx.URL(address.base).host == address.host


def test_default_ports_and_schemes_give_distinct_places() -> None:
    bases = [
        "http://h",
        "https://h",
        "http://h:443",
        "https://h:80",
        "http://h:8443",
        "https://h:8443",
        "http://h:8000",
    ]
    places = [source_address(f"{base}/openapi.json").root.place for base in bases]
    assert places == [
        "/-/h/80/-",
        "/-/h/443/-",
        "/-/h/http:443/-",
        "/-/h/https:80/-",
        "/-/h/8443/-",
        "/-/h/https:8443/-",
        "/-/h/8000/-",
    ]


def test_the_published_example_has_its_published_place() -> None:
    source = source_address("http://localhost:8000/-/routes")
    assert source.lists_apps
    assert source.root.base == "http://localhost:8000"
    assert flow_place(source.root, "/") == "/-/localhost/8000/-/"


def test_a_bare_address_means_its_openapi_document() -> None:
    assert source_address("HTTP://LocalHost:8005").url == "http://localhost:8005/openapi.json"


def test_an_ipv6_app_has_a_host_header_with_brackets_and_a_place_without() -> None:
    root = source_address("http://[::1]:8000/openapi.json").root
    assert (root.netloc, root.place) == ("[::1]:8000", "/-/::1/8000/-")
    assert split_place("/-/%3A%3A1/8000/-/x") == (root, "/x")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:8000",
        "ftp://localhost/openapi.json",
        "file:///etc/passwd",
        "http://user:secret@host/openapi.json",
        "http://host:99999/openapi.json",
        "http://host:0/openapi.json",
        "http://host/a/../openapi.json",
        "http://host/a/-/b/openapi.json",
        "http://host/openapi.json?x=1",
        "http://ho st/openapi.json",
        "http://host\\@evil/openapi.json",
        "http://[::zz]/openapi.json",
        "http://host/\x00/openapi.json",
        "http://" + "x" * 3000,
    ],
)
def test_what_is_no_source_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(BadAddress, match=r"\w"):
        source_address(text)


@pytest.mark.parametrize(
    "path", ["/..", "/a/../b", "/%2e%2e/a", "/a/%2E./b", "/%252e%252e/a", "/a%2f..%2fb", "/.%2e", "/a\\..\\b", "/."]
)
def test_a_path_that_would_leave_the_app_is_refused(path: str) -> None:
    assert leaves_base(path)
    with pytest.raises(BadAddress):
        split_place(f"/-/localhost/8000/app/-{path}")


@given(st.text(max_size=60))
def test_any_path_is_either_a_place_or_refused(path: str) -> None:
    for text in (path, f"/-/{path}", f"/-/h/80/-/{path}"):
        try:
            split_place(text)
        except BadAddress:
            continue


@given(st.text(max_size=60))
def test_any_text_is_either_a_source_or_refused(text: str) -> None:
    for each in (text, f"http://{text}", f"http://h/{text}"):
        try:
            source_address(each)
        except BadAddress:
            continue


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/app/x/?a=1", "/-/h/8000/app/-/x/?a=1"),
        ("y", "/-/h/8000/app/-/y"),
        ("http://h:8000/app/z", "/-/h/8000/app/-/z"),
        ("/logout", "http://h:8000/logout"),
        ("/application", "http://h:8000/application"),
        ("//evil.example/x", "http://evil.example/x"),
        ("https://h:8000/app/z", "https://h:8000/app/z"),
        ("javascript:alert(1)", None),
        ("http://[bad", None),
        ("http://h:8000/app/%2e%2e/z", "http://h:8000/app/%2e%2e/z"),
    ],
)
def test_a_redirect_of_an_app_stays_with_the_app(location: str, expected: str | None) -> None:
    place = relocated(Address("http", "h", 8000, "/app"), "http://h:8000/app/x", location)
    assert place == expected
    assert place is None or urlsplit(place).scheme in ("", "http", "https")
