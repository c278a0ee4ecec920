"""Fields for a date, a time, or both; values are the ISO texts that browsers send."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

from .element import Field
from .html import tag
from .rules import number_of, off_step

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)
_SECOND = datetime.timedelta(seconds=1)
_MONDAY = datetime.datetime(1970, 1, 1)

Moment = datetime.date | datetime.time | datetime.datetime


class _MomentField(Field):
    """What the three fields share."""

    placeholder: str | None
    example: ClassVar[str]

    def read(self, value: Any) -> Any:
        """The moment that a value stands for, or None."""
        raise NotImplementedError

    def _bounds(self) -> tuple[Any, Any]:
        raise NotImplementedError

    def _step(self) -> Any:
        return None

    def problem(self, value: Any) -> str | None:
        """As :meth:`Field.problem`."""
        moment = self.read(value)
        if moment is None:
            return f"Please enter {self.example}."
        lowest, highest = (self.read(bound) for bound in self._bounds())
        return self._outside(moment, lowest, highest) or self._off_step(moment, lowest)

    def _outside(self, moment: Any, lowest: Any, highest: Any) -> str | None:
        if lowest is not None and moment < lowest:
            return f"Please enter {lowest} or later."
        return None if highest is None or moment <= highest else f"Please enter {highest} or earlier."

    def _off_step(self, moment: Any, lowest: Any) -> str | None:
        step = number_of(self._step())
        base = lowest if lowest is not None else self.read(self.value)
        problem = off_step(_seconds(moment), None if base is None else _seconds(base), step)
        return problem and f"Please enter a time in steps of {step} seconds."

    def control(self, attributes: Mapping[str, object]) -> str:
        """As :meth:`Field.control`."""
        lowest, highest = self._bounds()
        own = {"placeholder": self.placeholder, "min": _iso(lowest), "max": _iso(highest), "step": self._step()}
        return tag("input", {**attributes, "type": self.type, "value": _iso(self.value), **own})


@dataclass(eq=False)
class InputDate(_MomentField):
    """A date such as 2026-01-31."""

    type: ClassVar[str] = "date"
    example: ClassVar[str] = "a date such as 2026-01-31"
    keys: ClassVar[tuple[str, ...]] = ("name", "label", "value", "required", "placeholder", "min_date", "max_date")
    name: str
    label: str | None = None
    value: Any = None
    required: bool = False
    placeholder: str | None = None
    min_date: Any = None
    max_date: Any = None
    error: list[str] | None = None

    def read(self, value: Any) -> datetime.date | None:
        """As :meth:`_MomentField.read`."""
        text = _iso(value)
        return _parsed(datetime.date.fromisoformat, text) if text and _DATE.fullmatch(text) else None

    def _bounds(self) -> tuple[Any, Any]:
        return self.min_date, self.max_date


@dataclass(eq=False)
class InputTime(_MomentField):
    """A time such as 09:30; with ``min_time`` after ``max_time`` the span goes past midnight.

    ``step`` is in seconds.
    """

    type: ClassVar[str] = "time"
    example: ClassVar[str] = "a time such as 09:30"
    keys: ClassVar[tuple[str, ...]] = (
        "name",
        "label",
        "value",
        "required",
        "placeholder",
        "min_time",
        "max_time",
        "step",
    )
    name: str
    label: str | None = None
    value: Any = None
    required: bool = False
    placeholder: str | None = None
    min_time: Any = None
    max_time: Any = None
    step: int | float | str | None = None
    error: list[str] | None = None

    def read(self, value: Any) -> datetime.time | None:
        """As :meth:`_MomentField.read`."""
        text = _iso(value)
        return _parsed(datetime.time.fromisoformat, text) if text and _TIME.fullmatch(text) else None

    def _bounds(self) -> tuple[Any, Any]:
        return self.min_time, self.max_time

    def _step(self) -> Any:
        return self.step

    def _outside(self, moment: Any, lowest: Any, highest: Any) -> str | None:
        if lowest is not None and highest is not None and lowest > highest:
            inside = moment >= lowest or moment <= highest
            return None if inside else f"Please enter {lowest} or later, or {highest} or earlier."
        return super()._outside(moment, lowest, highest)


@dataclass(eq=False)
class InputDateTime(_MomentField):
    """A date and time without a zone, such as 2026-01-31T09:30. ``step`` is in seconds."""

    type: ClassVar[str] = "datetime-local"
    example: ClassVar[str] = "a date and time such as 2026-01-31T09:30"
    keys: ClassVar[tuple[str, ...]] = (
        "name",
        "label",
        "value",
        "required",
        "placeholder",
        "min_datetime",
        "max_datetime",
        "step",
    )
    name: str
    label: str | None = None
    value: Any = None
    required: bool = False
    placeholder: str | None = None
    min_datetime: Any = None
    max_datetime: Any = None
    step: int | float | str | None = None
    error: list[str] | None = None

    def read(self, value: Any) -> datetime.datetime | None:
        """As :meth:`_MomentField.read`."""
        date, _, time = (_iso(value) or "").replace(" ", "T", 1).partition("T")
        if not _DATE.fullmatch(date) or not _TIME.fullmatch(time):
            return None
        moment: datetime.datetime | None = _parsed(datetime.datetime.fromisoformat, f"{date}T{time}")
        return moment

    def _bounds(self) -> tuple[Any, Any]:
        return self.min_datetime, self.max_datetime

    def _step(self) -> Any:
        return self.step


def _parsed(parse: Any, text: str) -> Any:
    try:
        return parse(text)
    except ValueError:
        return None  # the right shape, but no such day or hour


def _iso(value: Any) -> str | None:
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return value if isinstance(value, str) and value else None


def _seconds(moment: Moment) -> Decimal:
    """Seconds since a fixed moment, exactly."""
    if isinstance(moment, datetime.time):
        moment = datetime.datetime.combine(_MONDAY, moment)
    elif not isinstance(moment, datetime.datetime):
        moment = datetime.datetime.combine(moment, datetime.time())
    elapsed = moment - _MONDAY
    return Decimal(elapsed // _SECOND) + Decimal(elapsed.microseconds) / 1_000_000
