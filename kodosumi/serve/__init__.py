"""The HTTP side of a flow app: ``ServeAPI`` and ``Templates``."""

from .api import ServeAPI
from .templates import Templates

__all__ = ["ServeAPI", "Templates"]
