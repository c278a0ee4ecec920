"""What one panel process counts and measures, and what it asks its parts, for ``/metrics``."""

from .exposition import CONTENT_TYPE, exposition_text
from .meters import Meters
from .parts import PartFigures
from .requests import BEGAN, MeteredRequests

__all__ = ["BEGAN", "CONTENT_TYPE", "MeteredRequests", "Meters", "PartFigures", "exposition_text"]
