"""InputsError: what a user entered is not acceptable, told field by field."""

from __future__ import annotations

from typing import Any

from ..error import KodosumiError

GLOBAL = "_global_"
"""Published name of the messages that belong to no single field."""


class InputsError(KodosumiError):
    """Collects messages for the fields of a form; raised by an endpoint, it brings the form back with them.

    Its truth is whether messages were added by field or by ``flash``; positional texts join ``_global_`` in the answer.

    Args:
        args: messages for the form as a whole.
        fields: one message or a list of messages by field name.

    Attributes:
        errors: lists of messages by field name.
    """

    def __init__(self, /, *args: Any, **fields: str | list[str]) -> None:
        super().__init__(*args)
        self.errors: dict[str, list[str]] = {}
        self.add(**fields)

    def add(self, /, **fields: str | list[str]) -> None:
        """Adds one message or a list of messages to each named field."""
        for name, message in fields.items():
            self._extend(name, message)

    def flash(self, message: str) -> None:
        """Adds a message that belongs to the form as a whole."""
        self._extend(GLOBAL, message)

    def has_errors(self) -> bool:
        """Whether any message was added."""
        return any(self.errors.values())

    def messages(self) -> dict[str, list[str]]:
        """A copy of all messages by field; ``_global_`` is always there, with the positional texts at its end."""
        collected = {name: list(texts) for name, texts in self.errors.items()}
        collected.setdefault(GLOBAL, []).extend(str(arg) for arg in self.args)
        return collected

    def _extend(self, name: str, message: str | list[str]) -> None:
        texts = message if isinstance(message, (list, tuple)) else [message]
        self.errors.setdefault(name, []).extend(str(text) for text in texts)

    def __bool__(self) -> bool:
        return self.has_errors()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, {"errors": self.errors}
