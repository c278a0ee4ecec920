"""An app's OpenAPI document is data: its flows are found, whatever else it holds."""

from __future__ import annotations

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from kodosumi.service.flow.address import Address
from kodosumi.service.flow.apps import App, from_text, to_text
from kodosumi.service.flow.document import Endpoint, endpoints_of

ADDRESS = Address("http", "localhost", 8000, "/app")
SOURCE = "http://localhost:8000/app/openapi.json"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["x-kodosumi", "summary", "description", "tags", "deprecated", "x-author", "x-organization", "operationId"]
)
OPERATIONS = st.dictionaries(FIELDS, JSON | st.just(True), max_size=6)
PATHS = st.dictionaries(
    st.text(max_size=6).map(lambda text: f"/{text}"),
    st.dictionaries(st.sampled_from(["get", "post", "parameters"]), OPERATIONS | JSON, max_size=3) | JSON,
    max_size=3,
)


def flows(operations: dict[str, object], path: str = "/") -> list[Endpoint]:
    return endpoints_of({"paths": {path: operations}}, ADDRESS, SOURCE)


@given(JSON | st.fixed_dictionaries({"paths": PATHS | JSON}))
def test_any_document_is_read_without_an_error_and_kept_as_text(document: object) -> None:
    found = endpoints_of(document, ADDRESS, SOURCE)
    for flow in found:
        assert isinstance(flow.summary, str) and isinstance(flow.deprecated, bool)
        assert all(isinstance(tag, str) for tag in flow.tags)
        json.dumps(flow.words).encode()
    apps = [App(ADDRESS, found)]
    assert from_text(to_text(apps)) == apps


def test_only_operations_marked_true_are_flows() -> None:
    for mark in (False, "true", 1, None, {}):
        assert flows({"get": {"x-kodosumi": mark}}) == []
    assert flows({"get": {}}) == []
    assert len(flows({"get": {"x-kodosumi": True}})) == 1


def test_a_flow_has_the_published_fields() -> None:
    operation = {
        "x-kodosumi": True,
        "summary": "Prime",
        "description": "Finds gaps.",
        "tags": ["math", "math", 7, None, {"x": 1}],
        "deprecated": "yes",
        "x-author": "ada@example.com",
        "x-organization": ["not", "text"],
    }
    (flow,) = flows({"get": operation}, "/gaps")
    assert flow.url == "/-/localhost/8000/app/-/gaps"
    assert flow.uid == hashlib.md5(flow.url.encode()).hexdigest()
    assert (flow.method, flow.source, flow.base_url) == ("GET", SOURCE, "http://localhost:8000/app")
    assert (flow.summary, flow.tags, flow.deprecated) == ("Prime", ["math", "7"], False)
    assert (flow.author, flow.organization) == ("ada@example.com", "")


def test_of_two_flows_at_one_path_get_counts() -> None:
    both = flows({"post": {"x-kodosumi": True}, "get": {"x-kodosumi": True}})
    assert [flow.method for flow in both] == ["GET"]


def test_a_flow_without_a_name_is_called_by_its_path() -> None:
    assert flows({"get": {"x-kodosumi": True, "summary": ""}}, "/a b")[0].summary == "/a b"
