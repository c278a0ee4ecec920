"""Launches that are made once however often they are asked for: see ``sending.py``."""

from .sending import send_once

__all__ = ["send_once"]
