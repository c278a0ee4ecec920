"""Flows: which sources are registered, what they offer, and the addresses that the panel gives them."""

from .api import router

__all__ = ["router"]
