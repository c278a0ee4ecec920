"""`koco start` and the processes it consists of; ``stack.py`` is the parent, ``roles.py`` are its children."""

from __future__ import annotations

from .stack import run_stack

__all__ = ["run_stack"]
