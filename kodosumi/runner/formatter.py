"""Payloads as a page shows them: inputs as YAML, output with its colours, results as sanitised HTML.

The panel converts what it streams without ``raw``; a runner never imports this. Nothing here fails: what cannot be
converted is shown as it is, escaped.
"""

from __future__ import annotations

import html
import json
import logging
import pprint
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from ..events import EventKind, parsed_json
from ..markup import markdown_to_html, preformatted, sanitised
from .ansi import ansi_to_html

logger = logging.getLogger(__name__)

MAX_CONVERTED_CHARS = 1_048_576
"""Longer payloads become a notice that leads to the raw text."""

CONVERTED_KINDS = frozenset(
    {EventKind.INPUTS, EventKind.STDOUT, EventKind.STDERR, EventKind.ACTION, EventKind.RESULT, EventKind.FINAL}
)
"""Kinds whose payload :func:`convert` changes."""

_RESULT_KINDS = frozenset({EventKind.ACTION, EventKind.RESULT, EventKind.FINAL})


def convert(kind: EventKind, payload: str, raw_url: str = "") -> str:
    """The payload of an event as the panel's pages show it.

    Args:
        kind: its kind; other kinds than :data:`CONVERTED_KINDS` are given back unchanged.
        payload: its published text.
        raw_url: where the unconverted text can be had, for the notice that stands for a very long one.

    Returns:
        YAML text for inputs, HTML for output and results.
    """
    if kind not in CONVERTED_KINDS:
        return payload
    if len(payload) > MAX_CONVERTED_CHARS:
        return _notice(kind, len(payload), raw_url)
    try:
        if kind == EventKind.INPUTS:
            return _yaml(payload)
        return result_to_html(payload) if kind in _RESULT_KINDS else ansi_to_html(payload)
    except Exception:
        logger.warning("a payload of kind %s could not be converted and is shown as text", kind, exc_info=True)
        return payload if kind == EventKind.INPUTS else preformatted(payload)


def result_to_html(payload: str) -> str:
    """A wrapped JSON value (published serialisation) as sanitised HTML; text that is none is shown as it is."""
    try:
        wrapped = parsed_json(payload)
    except ValueError:
        return preformatted(payload)
    return _wrapped(wrapped)


def _wrapped(wrapped: Any) -> str:
    if not isinstance(wrapped, dict) or len(wrapped) != 1:
        return _value("", wrapped)
    [(name, value)] = wrapped.items()
    if name == "__list__" and isinstance(value, list):
        return "".join(f"<div>{_wrapped(item)}</div>" for item in value)
    renderer = _RENDERERS.get(name)
    return renderer(value) if renderer and isinstance(value, dict) else _value(name, value)


def _value(name: str, value: Any) -> str:
    heading = f"<h4>{html.escape(name)}</h4>" if name else ""
    text = value if isinstance(value, str) else pprint.pformat(value, width=100, sort_dicts=False)
    return f"{heading}{preformatted(text)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _yaml(payload: str) -> str:
    value = parsed_json(payload)
    if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), dict):
        [value] = value.values()
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False, width=100).removesuffix("...\n")


def _notice(kind: EventKind, chars: int, raw_url: str) -> str:
    size = f"{chars / 1_048_576:.1f} million characters are too long to be shown here"
    if kind == EventKind.INPUTS:
        return f"# {size}: {raw_url}"
    link = f'<a href="{html.escape(raw_url)}">raw text</a>' if raw_url else "raw text"
    return f"<p><em>{size}; see the {link}.</em></p>"


def _labelled(value: Mapping[str, Any], *names: str) -> str:
    rows = "".join(
        f"<dt>{html.escape(name.replace('_', ' '))}</dt><dd>{html.escape(_text(value[name]))}</dd>"
        for name in names
        if value.get(name) not in (None, "")
    )
    return f"<dl>{rows}</dl>" if rows else ""


def _agent_finish(value: Mapping[str, Any]) -> str:
    return (
        "<h4>Agent finished</h4>"
        + _labelled(value, "thought")
        + markdown_to_html(_text(value.get("output") or value.get("text")))
    )


def _agent_action(value: Mapping[str, Any]) -> str:
    rows = _labelled(value, "thought", "tool", "tool_input")
    return f"<h4>Agent action</h4>{rows}{markdown_to_html(_text(value.get('result')))}"


def _tool_result(value: Mapping[str, Any]) -> str:
    return f"<h4>Tool result</h4>{markdown_to_html(_text(value.get('result')))}"


def _task_output(value: Mapping[str, Any]) -> str:
    title = html.escape(_text(value.get("name")) or "Task")
    rows = _labelled(value, "agent", "description", "expected_output")
    return f"<h4>{title}</h4>{rows}{markdown_to_html(_text(value.get('raw')))}"


def _crew_output(value: Mapping[str, Any]) -> str:
    return f"{markdown_to_html(_text(value.get('raw')))}{_labelled(value, 'token_usage')}"


_RENDERERS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "Markdown": lambda value: markdown_to_html(_text(value.get("body"))),
    "HTML": lambda value: sanitised(_text(value.get("body"))),
    "Text": lambda value: preformatted(_text(value.get("body"))),
    "AgentFinish": _agent_finish,
    "AgentAction": _agent_action,
    "ToolResult": _tool_result,
    "TaskOutput": _task_output,
    "CrewOutput": _crew_output,
}
"""Class names that are published with a look of their own."""
