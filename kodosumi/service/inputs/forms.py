"""Published import path of :mod:`kodosumi.forms`."""

from ...forms import *  # noqa: F403 - the whole public face, as it is
from ...forms import __all__ as __all__
