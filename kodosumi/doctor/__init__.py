"""`koco doctor`: whether every part that the settings name is there and fit, and what to do where it isn't.

``checkup.py`` asks all areas at once, ``report.py`` prints what they found; each other module is an area. Looks only:
nothing here changes anything, and nothing prints a secret.
"""

from .checkup import examine, run_doctor
from .report import Finding, Report, State

__all__ = ["Finding", "Report", "State", "examine", "run_doctor"]
