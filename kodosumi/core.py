"""What an author imports. Names are loaded on first use, so an entry point that needs a Tracer alone stays light."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import forms, response
    from .error import KodosumiError
    from .forms import InputsError
    from .launch import Launch
    from .runner.mock import TracerMock
    from .runner.spec import Retry
    from .runner.tracer import Tracer
    from .serve import ServeAPI, Templates

_HOMES = {
    "InputsError": "kodosumi.forms:InputsError",
    "KodosumiError": "kodosumi.error:KodosumiError",
    "Launch": "kodosumi.launch:Launch",
    "Retry": "kodosumi.runner.spec:Retry",
    "ServeAPI": "kodosumi.serve:ServeAPI",
    "Templates": "kodosumi.serve:Templates",
    "Tracer": "kodosumi.runner.tracer:Tracer",
    "TracerMock": "kodosumi.runner.mock:TracerMock",
    "forms": "kodosumi.forms:",
    "response": "kodosumi.response:",
}

__all__ = [
    "InputsError",
    "KodosumiError",
    "Launch",
    "Retry",
    "ServeAPI",
    "Templates",
    "Tracer",
    "TracerMock",
    "forms",
    "response",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    home = import_module(module)
    value = getattr(home, attribute) if attribute else home
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
