"""Payloads as pages show them: what is published looks right, and nothing that anyone wrote can run."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kodosumi.events import EventKind
from kodosumi.runner.ansi import ansi_to_html
from kodosumi.runner.formatter import CONVERTED_KINDS, MAX_CONVERTED_CHARS, convert

HTML_KINDS = sorted(CONVERTED_KINDS - {EventKind.INPUTS})
RESULT_KINDS = [EventKind.ACTION, EventKind.RESULT, EventKind.FINAL]

VECTORS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><animate onbegin=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href=' jAvAsCrIpT:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<style>@import 'http://x';</style><p style='background:url(http://x)'>x</p>",
    "<form action=/logout><input name=a autofocus onfocus=alert(1)></form>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<base href='http://x/'><meta http-equiv=refresh content='0;url=http://x'>",
    "<p id=location name=cookie class='badge'>x</p>",
    "[x](javascript:alert(1)) ![x](javascript:alert(1))",
    "<javascript:alert(1)>",
    "```html\n<script>alert(1)</script>\n```",
    '"><script>alert(1)</script>',
    "</pre><script>alert(1)</script>",
    "\x1b]8;;javascript:alert(1)\x07x\x1b]8;;\x07<script>alert(1)</script>",
]
"""Ways in which text becomes code in a browser."""

WRAPPERS = [
    lambda text: {"Markdown": {"body": text}},
    lambda text: {"HTML": {"body": text}},
    lambda text: {"Text": {"body": text}},
    lambda text: {"str": text},
    lambda text: {text: text},
    lambda text: {"dict": {text: [text]}},
    lambda text: {"__list__": [{"HTML": {"body": text}}, {"str": text}]},
    lambda text: {"AgentFinish": {"thought": text, "output": text}},
    lambda text: {"AgentAction": {"thought": text, "tool": text, "tool_input": text, "result": text}},
    lambda text: {"ToolResult": {"result": text}},
    lambda text: {"TaskOutput": {"name": text, "description": text, "raw": text, "agent": text}},
    lambda text: {"CrewOutput": {"raw": text, "token_usage": {text: text}}},
    lambda text: [text],
    lambda text: text,
]


class Harmless(HTMLParser):
    """Fails on any tag or attribute that could do more than show."""

    TAGS = frozenset({"script", "style", "iframe", "form", "input", "svg", "math", "base", "meta", "object", "embed"})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in self.TAGS
        for name, value in attrs:
            assert not name.startswith("on") and name not in ("style", "id", "name", "srcdoc"), (tag, name)
            if name == "class":
                assert "badge" not in (value or "")
            if name in ("href", "src"):
                assert (value or "").startswith(("http://", "https://", "mailto:", "data:image/", "/", "#")), value


def assert_harmless(markup: str) -> None:
    parser = Harmless()
    parser.feed(markup)
    parser.close()


@pytest.mark.parametrize("vector", VECTORS)
@pytest.mark.parametrize("kind", HTML_KINDS)
def test_nothing_that_was_written_can_run(kind: EventKind, vector: str) -> None:
    assert_harmless(convert(kind, vector))
    for wrap in WRAPPERS:
        assert_harmless(convert(kind, json.dumps(wrap(vector))))


@given(st.text(), st.sampled_from(sorted(EventKind)))
def test_any_text_of_any_kind_converts(text: str, kind: EventKind) -> None:
    assert isinstance(convert(kind, text), str)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["__list__", "HTML", "body", "raw"]), inner),
    )
)
def test_any_json_converts_to_harmless_markup(value: object) -> None:
    for kind in RESULT_KINDS:
        assert_harmless(convert(kind, json.dumps(value)))


def test_kinds_without_a_conversion_stay_as_they_are() -> None:
    for kind in set(EventKind) - CONVERTED_KINDS:
        assert convert(kind, "<b>\x1b[1m") == "<b>\x1b[1m"


def test_markdown_becomes_html() -> None:
    html = convert(
        EventKind.FINAL, json.dumps({"Markdown": {"body": "# Title\n\n|a|b|\n|-|-|\n|1|2|\n\n```\ncode\n```"}})
    )

    assert "<h1>Title</h1>" in html and "<td>1</td>" in html and "codehilite" in html


def test_text_is_shown_as_it_is() -> None:
    assert convert(EventKind.FINAL, '{"Text": {"body": "<b>\\n  x"}}') == "<pre>&lt;b&gt;\n  x</pre>"


def test_other_classes_are_a_heading_and_the_python_repr() -> None:
    assert convert(EventKind.RESULT, '{"Finding": {"ok": true, "n": null}}') == (
        "<h4>Finding</h4><pre>{&#x27;ok&#x27;: True, &#x27;n&#x27;: None}</pre>"
    )


def test_a_list_shows_each_of_its_items() -> None:
    html = convert(EventKind.RESULT, '{"__list__": [{"int": 1}, {"Markdown": {"body": "*x*"}}]}')

    assert "<h4>int</h4><pre>1</pre>" in html and "<em>x</em>" in html


def test_inputs_become_yaml() -> None:
    text = convert(EventKind.INPUTS, '{"dict": {"tasks": 100, "name": "Zoë", "text": "a\\nb"}}')

    assert yaml.safe_load(text) == {"tasks": 100, "name": "Zoë", "text": "a\nb"}
    assert "Zoë" in text


def test_a_very_long_payload_is_a_notice_with_a_way_to_the_raw_text() -> None:
    for kind in HTML_KINDS:
        html = convert(kind, "x" * (MAX_CONVERTED_CHARS + 1), '/outputs/raw/"a')
        assert len(html) < 300 and 'href="/outputs/raw/&quot;a"' in html
    assert convert(EventKind.INPUTS, "x" * (MAX_CONVERTED_CHARS + 1), "/raw").endswith("/raw")


@pytest.mark.parametrize(
    "text", ["[" * 50_000, "[a](" * 20_000, "<a " * 40_000, "a\n:   " * 20_000, ">" * 5_000, "_a_*b*" * 3_000]
)
@pytest.mark.timeout(60)
def test_hostile_markdown_does_not_hold_the_panel(text: str) -> None:
    assert convert(EventKind.RESULT, json.dumps({"Markdown": {"body": text}}))


@pytest.mark.parametrize(
    "text",
    [
        "<div>" * 200_000,
        "<b>" * 300_000,
        "<b><p>" * 100_000,
        "<ul><li>" * 100_000,
        "<!-- </b> --><b>" * 60_000,
        "<b title='</b>'>" * 60_000,
        "<p>" + "".join(f"<b a={n}>" for n in range(3_000)) + "</p><p>x" * 50_000,
        f"<p {' '.join(f'a{n}=1' for n in range(100_000))}>",
    ],
)
@pytest.mark.timeout(60)
def test_markup_of_any_depth_does_not_hold_the_panel(text: str) -> None:
    assert convert(EventKind.RESULT, json.dumps({"HTML": {"body": text}})).startswith("<pre>")


def test_a_long_table_is_still_a_table() -> None:
    table = f"<table>{'<tr><td><b>1</b></td><td class=x>2</td></tr>' * 8_000}</table>"
    assert convert(EventKind.RESULT, json.dumps({"HTML": {"body": table}})).startswith("<table>")


def test_colours_become_classes() -> None:
    assert ansi_to_html("\x1b[1;31mred\x1b[0m <\x1b[38;5;46mgreen\x1b[39m\x1b[2K\x1b]0;title\x07") == (
        '<span class="ansi-bold ansi-fg-red">red</span> &lt;<span class="ansi-fg-bright-green">green</span>'
    )


def test_true_colour_takes_the_nearest_colour() -> None:
    assert (
        ansi_to_html("\x1b[38;2;250;10;10;48;2;0;0;120mx") == '<span class="ansi-bg-blue ansi-fg-bright-red">x</span>'
    )


@given(st.lists(st.sampled_from(["\x1b[", "m", ";", "38", "48", "5", "2", "1", "0", ":", "<b>", "\x1b", "]8;;", "x"])))
def test_any_escape_sequence_leaves_harmless_markup(parts: list[str]) -> None:
    markup = ansi_to_html("".join(parts))
    assert_harmless(markup)
    assert "\x1b" not in markup and "<b>" not in markup
