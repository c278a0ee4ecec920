"""Markdown and HTML that authors, users and models wrote, made safe to put into a page of the panel.

Sanitised by nh3 (ammonia). No scripts, styles, forms, ids, or ``javascript:`` links; classes only of code colouring;
images only within the text itself: another host's would tell it who reads, this panel's would be a request in the
viewer's name (``GET /logout``). An image that is not shown leaves its alternative text.
"""

from __future__ import annotations

import html
import re
import threading
from collections import Counter

import markdown
import nh3
from pygments.token import STANDARD_TYPES

MAX_SCAN = 4_000_000
"""Characters that Markdown's search for closing brackets may look at: it is quadratic, hostile text takes minutes."""

MAX_NESTING = 5_000_000
"""Open elements times tags that the sanitiser may face: deep or misnested markup costs it time and memory in square."""

_EXTENSIONS = ["extra", "codehilite", "toc", "fenced_code"]
_CODE_CLASSES = {name for name in STANDARD_TYPES.values() if name}
_TAGS = nh3.ALLOWED_TAGS - {"area", "map", "nav", "header", "footer", "article", "aside"}
_ATTRIBUTES = {tag: set(names) for tag, names in nh3.ALLOWED_ATTRIBUTES.items()} | {"a": {"href", "title"}}
_IMAGE_SOURCE = re.compile(r"data:image/(?:png|jpeg|gif|webp)[;,]", re.IGNORECASE)
_NOT_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|textarea|title)\b.*?(?:</\1|\Z)|=\s*\"[^\"]*\"|=\s*'[^']*'",
    re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile(r"<(/?)([a-z][a-z0-9]*)", re.IGNORECASE)
_CLOSED_BY_NEXT = frozenset(
    {
        "area",
        "base",
        "br",
        "col",
        "dd",
        "dt",
        "embed",
        "hr",
        "img",
        "input",
        "li",
        "link",
        "meta",
        "option",
        "p",
        "source",
        "td",
        "th",
        "tr",
        "wbr",
    }
)
_ENDS = {"[": "]", "(": ")", "<": ">"}
_local = threading.local()


def sanitised(text: str) -> str:
    """``text``, any HTML, as HTML that can do nothing but show; markup too deep to be read is shown as it is."""
    if _nesting_cost(text) > MAX_NESTING:
        return preformatted(text)
    cleaner = getattr(_local, "cleaner", None)
    if cleaner is None:
        cleaner = _local.cleaner = _new_cleaner()
    return str(cleaner.clean(text))


def markdown_to_html(text: str) -> str:
    """Markdown (python-markdown: extra, codehilite, toc, fenced code) as sanitised HTML.

    Text that python-markdown would chew on for long, or cannot take at all, is shown as it is.
    """
    if _scan_cost(text) > MAX_SCAN:
        return preformatted(text)
    try:
        return sanitised(_converter().convert(text))
    except (ValueError, RecursionError, AttributeError, IndexError, KeyError):
        # its inner state is unknown after a failure
        _local.converter = None
        return preformatted(text)


def preformatted(text: str) -> str:
    """``text`` as it is, escaped."""
    return f"<pre>{html.escape(text)}</pre>"


def _new_cleaner() -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_keep_attribute,
        url_schemes={"http", "https", "mailto", "data"},
        allowed_classes={"div": {"codehilite"}, "span": _CODE_CLASSES},
    )


def _keep_attribute(tag: str, name: str, value: str) -> str | None:
    if tag == "img" and name == "src":
        return value if _IMAGE_SOURCE.match(value) else None
    if name in ("href", "cite") and value.strip().lower().startswith("data:"):
        return None
    return value


def _converter() -> markdown.Markdown:
    """This thread's converter: making one costs more than a short text."""
    converter: markdown.Markdown | None = getattr(_local, "converter", None)
    if converter is None:
        settings = {"codehilite": {"guess_lang": False}}
        converter = _local.converter = markdown.Markdown(extensions=_EXTENSIONS, extension_configs=settings)
    return converter.reset()


def _scan_cost(text: str) -> int:
    """Characters between each opening bracket and its end, block by block, and what definition lists cost."""
    cost = text.count("\n:") ** 2
    for block in re.split(r"\n\s*\n", text):
        opened: dict[str, list[int]] = {"]": [], ")": [], ">": []}
        for match in re.finditer(r"[\[\]()<>]", block):
            char, place = match.group(), match.start()
            if char in _ENDS:
                opened[_ENDS[char]].append(place)
            elif opened[char]:
                cost += place - opened[char].pop()
        cost += sum(len(block) - place for places in opened.values() for place in places)
    return cost


def _nesting_cost(text: str) -> int:
    """The most elements open at once times the number of tags, or the square of one tag's attributes."""
    tags = text.count("<")
    inside = (part.partition(">")[0] for part in text.split("<")[1:] if part[:1].isalpha())
    attributes = max((len(part.split()) for part in inside), default=0)
    if tags * tags <= MAX_NESTING:
        return attributes * attributes
    opened: Counter[str] = Counter()
    depth = deepest = 0
    for closing, name in _TAG.findall(_NOT_MARKUP.sub("", text).lower()):
        if name in _CLOSED_BY_NEXT:
            continue
        if not closing:
            opened[name] += 1
            depth += 1
            deepest = max(deepest, depth)
        elif opened[name]:
            opened[name] -= 1
            depth -= 1
    return max(deepest * tags, attributes * attributes)
