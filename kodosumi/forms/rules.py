"""What declared lengths, bounds and steps mean for a value, in the terms of HTML. Every rule answers with a message."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,4})?", re.ASCII)

_FLOAT_NOISE = Decimal("1e-9")

MAX_NUMBER_TEXT = 400
"""Characters of a number; the largest that a float can hold takes 309 digits."""


def number_of(value: Any) -> Decimal | None:
    """The number that a value stands for, within what a float can hold; None when it stands for none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        text = str(value).strip()
    except ValueError:
        return None  # an integer too long to be printed
    if len(text) > MAX_NUMBER_TEXT or not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    return number if abs(number) < Decimal("1.8e308") and (not number or number.adjusted() > -400) else None


def out_of_bounds(value: Any, lowest: Any, highest: Any) -> str | None:
    """A message when a value lies outside of bounds, each None for no bound."""
    if lowest is not None and value < lowest:
        return f"Please enter {_text(lowest)} or more."
    if highest is not None and value > highest:
        return f"Please enter {_text(highest)} or less."
    return None


def off_step(value: Decimal, base: Decimal | None, step: Decimal | None) -> str | None:
    """A message when a number is not a whole number of steps away from the base."""
    if step is None or step <= 0:
        return None
    base = base or Decimal(0)
    try:
        remainder = abs((value - base) % step)
        # What floats add up to is a little off (0.1 * 3); so is what browsers let pass.
        if min(remainder, step - remainder) <= step * _FLOAT_NOISE:
            return None
        nearest = base + (value - base) // step * step
    except InvalidOperation:
        # More steps away than a float could count: as in browsers, no mismatch can be told.
        return None
    return f"Please enter a value in steps of {_text(step)}, such as {_text(nearest)} or {_text(nearest + step)}."


def length_problem(text: str, shortest: Any, longest: Any) -> str | None:
    """A message when a text is too short or too long, counted as browsers do: in UTF-16 units, a line break is one."""
    length = len(text.replace("\r\n", "\n").encode("utf-16-le", "surrogatepass")) // 2
    least, most = number_of(shortest), number_of(longest)
    if least is not None and length < least:
        return f"Please enter at least {_text(least)} characters (there are {length})."
    if most is not None and length > most:
        return f"Please enter at most {_text(most)} characters (there are {length})."
    return None


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if -20 < value.adjusted() < 20 else str(value)
    return str(value)
