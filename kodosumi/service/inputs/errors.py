"""Published import path of :class:`kodosumi.forms.InputsError`."""

from ...forms import InputsError

__all__ = ["InputsError"]
