"""Terminal text to HTML: colours and weights of ANSI escape sequences become ``<span class="ansi-…">``.

Classes and not styles, because the panel's Content-Security-Policy refuses inline styles. Sequences other than SGR
(ECMA-48, 8.3.117) are dropped. The text itself is always escaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")

_SGR = re.compile(r"\x1b\[([\d;:]*)m")
_OTHER_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-ln-~]"  # CSI except SGR
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"  # device strings
    r"|\x1b[ -/]*[0-Z\\-~]"  # two-byte sequences
)
_ATTRIBUTES = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike"}
_ENDS = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("inverse",), 29: ("strike",)}


def ansi_to_html(text: str) -> str:
    """``text`` as HTML that shows what a terminal would.

    Args:
        text: what a program wrote, with or without escape sequences.
    """
    if "\x1b" not in text:
        return html.escape(text)
    return "".join(_spans(_OTHER_SEQUENCES.sub("", text)))


def _spans(text: str) -> Iterator[str]:
    style = _Style()
    parts = _SGR.split(text)
    for index, part in enumerate(parts):
        if index % 2:
            style.apply(part)
        elif part:
            classes = style.classes()
            body = html.escape(part.replace("\x1b", ""))
            yield f'<span class="{classes}">{body}</span>' if classes else body


class _Style:
    """What the sequences so far have switched on."""

    def __init__(self) -> None:
        self.attributes: set[str] = set()
        self.colours: dict[str, str] = {}

    def apply(self, parameters: str) -> None:
        codes = [int(code[:4]) if code else 0 for code in re.split("[;:]", parameters)]
        place = 0
        while place < len(codes):
            place += self._apply_one(codes, place)

    def classes(self) -> str:
        names = sorted(self.attributes) + [f"{ground}-{colour}" for ground, colour in sorted(self.colours.items())]
        return " ".join(f"ansi-{name}" for name in names)

    def _apply_one(self, codes: list[int], place: int) -> int:
        """Applies the code at ``place`` and returns how many it took."""
        code = codes[place]
        if code == 0:
            self.attributes.clear()
            self.colours.clear()
        elif code in _ATTRIBUTES:
            self.attributes.add(_ATTRIBUTES[code])
        elif code in _ENDS:
            self.attributes.difference_update(_ENDS[code])
        elif code in (38, 48):
            return self._extended("fg" if code == 38 else "bg", codes[place + 1 : place + 5])
        else:
            self._colour(code)
        return 1

    def _colour(self, code: int) -> None:
        for ground, base in (("fg", 30), ("bg", 40)):
            if base <= code < base + 8:
                self.colours[ground] = COLOURS[code - base]
            elif base + 60 <= code < base + 68:
                self.colours[ground] = f"bright-{COLOURS[code - base - 60]}"
            elif code == base + 9:
                self.colours.pop(ground, None)

    def _extended(self, ground: str, rest: list[int]) -> int:
        """256 colours and true colour, shown as the nearest of the sixteen."""
        if rest[:1] == [5] and len(rest) > 1:
            self.colours[ground] = _nearest_of_palette(rest[1])
            return 3
        if rest[:1] == [2] and len(rest) > 3:
            self.colours[ground] = _nearest(rest[1], rest[2], rest[3])
            return 5
        return len(rest) + 1


def _nearest_of_palette(number: int) -> str:
    if number < 8:
        return COLOURS[number]
    if number < 16:
        return f"bright-{COLOURS[number - 8]}"
    if number < 232:
        cube = number - 16
        return _nearest(cube // 36 * 51, cube // 6 % 6 * 51, cube % 6 * 51)
    grey = (number - 232) * 10 + 8
    return _nearest(grey, grey, grey)


def _nearest(red: int, green: int, blue: int) -> str:
    strongest = max(red, green, blue)
    if strongest < 48:
        return "black"
    limit = strongest * 0.6
    colour = COLOURS[(red >= limit) + 2 * (green >= limit) + 4 * (blue >= limit)]
    return f"bright-{colour}" if strongest > 200 else colour
