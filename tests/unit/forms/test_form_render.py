"""Forms as HTML: what an author, a user or an app wrote stays text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodosumi import forms as F

VECTORS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onfocus='alert(1)' autofocus='",
    "</textarea><script>alert(1)</script>",
    "</option></select><svg onload=alert(1)>",
    "javascript:alert(1)",
    "[x](javascript:alert(1))",
    "<a href='jAvAsCrIpT:alert(1)'>x</a>",
    "<a href=' &#106;avascript:alert(1)'>x</a>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<form action=//evil><input name=password></form>",
    "<style>*{display:none}</style>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "\x00<\x00script>",
    "\ud800",
]
ANYTHING = st.text(max_size=30) | st.sampled_from(VECTORS) | st.integers() | st.booleans() | st.none()
OUR_TAGS = {"fieldset", "legend", "input", "textarea", "label", "span", "select", "option", "button", "a", "div", "hr"}
OUR_TAGS |= {"br"}
OUR_ATTRIBUTES = {
    *("id", "name", "class", "type", "value", "required", "checked", "selected", "multiple", "webkitdirectory"),
    *("autocomplete", "placeholder", "size", "pattern", "min", "max", "step", "minlength", "maxlength", "rows", "cols"),
    *("aria-label", "aria-labelledby", "aria-invalid", "aria-describedby", "role", "href", "data-back", "data-files"),
}


class Tags(HTMLParser):
    """Collects the tags of a document with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def one(self, tag: str) -> dict[str, str | None]:
        (attributes,) = [attributes for name, attributes in self.found if name == tag]
        return attributes


def fields_of(text: object) -> F.Model:
    data = {
        "name": "n" if text is None else text,
        **dict.fromkeys(("label", "value", "placeholder", "size", "pattern", "step", "text"), text),
        **{f"{end}_{kind}": text for end in ("min", "max") for kind in ("value", "length", "date", "time", "datetime")},
        "rows": text,
        "cols": text,
        "error": [text],
        "option": [{"name": "n" if text is None else text, "label": text, "value": text}],
    }
    kinds = "text number password date time datetime-local textarea select submit cancel action file errors"
    elements = [{"type": kind, **data} for kind in kinds.split()]
    return F.Model.model_validate([*elements, {"type": "boolean", **data, "option": text}], {"_global_": [text]})


@given(ANYTHING)
def test_nothing_in_a_field_becomes_markup(text: object) -> None:
    page = fields_of(text).render()
    page.encode()
    for tag, attributes in Tags(page).found:
        assert tag in OUR_TAGS
        assert set(attributes) <= OUR_ATTRIBUTES
        assert attributes.get("href") in (None, "/admin/flow")


@pytest.mark.parametrize("text", VECTORS)
@pytest.mark.parametrize("kind", [F.HTML, F.Markdown])
def test_markup_of_the_author_cannot_run(kind: type[F.HTML], text: str) -> None:
    for tag, attributes in Tags(kind(text).render()).found:
        assert tag not in {"script", "style", "iframe", "form", "input", "svg", "math", "object", "embed"}
        assert not any(name.startswith("on") for name in attributes)
        assert not (attributes.get("href") or "").strip().lower().startswith("javascript:")


def test_markdown_is_dedented_and_rendered() -> None:
    page = F.Markdown("""
        # Title
        some *words*

        ```python
        x = 1
        ```
    """).render()
    assert "<h1>Title</h1>" in page and "<em>words</em>" in page and "codehilite" in page


def test_a_field_shows_label_value_and_limits() -> None:
    page = Tags(F.InputNumber("n", label="How <many>", value=0, min_value=0, max_value=5, required=True).render())
    control = page.one("input")
    assert control["value"] == "0" and control["min"] == "0" and control["max"] == "5" and "required" in control
    assert page.one("legend") == {"class": "inputs-label", "id": control["aria-labelledby"]}
    assert page.text == "How <many>"


def test_a_number_without_a_step_takes_any_number_in_browsers_too() -> None:
    assert Tags(F.InputNumber("n").render()).one("input")["step"] == "any"


def test_errors_are_shown_at_their_field() -> None:
    model = F.Model(F.InputText("first"), F.InputText("a b", error=["<bad>"]))
    page = Tags(model.render())
    first, second = (attributes for tag, attributes in page.found if tag == "input")
    assert "aria-invalid" not in first
    assert second["aria-invalid"] == "true"
    assert page.one("div") == {"class": "inputs-error", "id": second["aria-describedby"]}
    assert " " not in (second["aria-describedby"] or " ")
    assert "<bad>" in page.text


def test_global_errors_are_announced() -> None:
    assert Tags(F.Errors(["sorry"]).render()).one("div") == {"class": "inputs-error", "role": "alert"}
    assert F.Errors().render() == ""


def test_names_that_differ_have_ids_that_differ() -> None:
    ids = {Tags(F.InputText(name).render()).one("input")["id"] for name in ("a b", "a-b", "a_b", "a.b")}
    assert len(ids) == 4


def test_a_chosen_option_and_a_ticked_box_are_marked() -> None:
    select = Tags(F.Select("s", [F.InputOption("a"), F.InputOption("b", "B")], value="b").render())
    assert [("selected" in attributes) for tag, attributes in select.found if tag == "option"] == [False, True]
    assert "checked" in Tags(F.Checkbox("c", value=True).render()).one("input")
    assert "checked" not in Tags(F.Checkbox("c").render()).one("input")


def test_text_in_an_area_keeps_its_leading_line_break() -> None:
    assert F.InputArea("a", value="\nx").render().count("\n") == 2


def test_cancel_goes_back_without_inline_script() -> None:
    link = Tags(F.Cancel("Cancel").render()).one("a")
    assert link["href"] == link["data-back"] == "/admin/flow"
    assert "javascript" not in F.Cancel("Cancel").render()


def test_a_browser_fills_no_saved_password_into_the_form_of_an_app() -> None:
    assert Tags(F.InputPassword("p").render()).one("input")["autocomplete"] == "new-password"


def test_a_checkbox_is_named_by_the_text_beside_it() -> None:
    page = Tags(F.Checkbox("c", option="I agree", label="Terms").render())
    assert not any(name.startswith("aria-label") for name in page.one("input"))
    assert page.text.split() == ["Terms", "I", "agree"]
