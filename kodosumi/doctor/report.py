"""What was found, as a table for people or as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum


class State(StrEnum):
    """How something stands."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


MARKS = {State.OK: "✓", State.WARNING: "!", State.WRONG: "✗"}
PLAIN_MARKS = {State.OK: "+", State.WARNING: "!", State.WRONG: "x"}
"""For terminals that can't show the others."""

HIDDEN = "…"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what it is. state: how it stands. text: what was found, one line.
        remedy: what to do, a sentence with the command or variable; "" when all is well.
    """

    subject: str
    state: State
    text: str
    remedy: str = ""


def fine(subject: str, text: str) -> Finding:
    """Something that is as it should be."""
    return Finding(subject, State.OK, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """Something that works, for now or for this use."""
    return Finding(subject, State.WARNING, text, remedy)


def wrong(subject: str, text: str, remedy: str) -> Finding:
    """Something that stops a part, or lets others in."""
    return Finding(subject, State.WRONG, text, remedy)


@dataclass(frozen=True, slots=True)
class Report:
    """All findings.

    Attributes:
        areas: the findings of each area, in the order of printing; areas without any are left out.
        unfinished: whether an area did not answer in time, so that a thread of this process may still wait.
    """

    areas: Mapping[str, Sequence[Finding]]
    unfinished: bool = False

    @property
    def exit_code(self) -> int:
        """1 when something is wrong, else 0."""
        return 1 if self.count(State.WRONG) else 0

    def count(self, state: State) -> int:
        """How many findings stand so."""
        return sum(finding.state is state for findings in self.areas.values() for finding in findings)

    def without(self, secrets: Collection[str]) -> Report:
        """The same with every secret hidden and every text on one line, whoever wrote it."""
        areas = {
            name: [
                replace(finding, text=_clean(finding.text, secrets), remedy=_clean(finding.remedy, secrets))
                for finding in findings
            ]
            for name, findings in self.areas.items()
        }
        return replace(self, areas=areas)

    def as_json(self) -> str:
        """``{"ok", "counts", "findings": [{"area", "subject", "state", "text", "remedy"}]}``."""
        findings = [{"area": name, **asdict(finding)} for name, found in self.areas.items() for finding in found]
        counts = {state.value: self.count(state) for state in State}
        return json.dumps({"ok": self.exit_code == 0, "counts": counts, "findings": findings}, indent=2)

    def as_text(self, encoding: str = "utf-8") -> str:
        """The table.

        Args:
            encoding: of the terminal; one that has no ✓ and ✗ gets other marks.
        """
        marks = MARKS if _can_show("✓✗→…", encoding) else PLAIN_MARKS
        width = max((len(finding.subject) for found in self.areas.values() for finding in found), default=0)
        lines: list[str] = []
        for name, found in self.areas.items():
            lines += ["", name] if lines else [name]
            for finding in found:
                lines.append(f"  {marks[finding.state]} {finding.subject.ljust(width)}  {finding.text}")
                if finding.remedy:
                    lines.append(f"    {''.ljust(width)}  {'→' if marks is MARKS else '>'} {finding.remedy}")
        text = "\n".join([*lines, "", self._summary()])
        return text.encode(encoding, "replace").decode(encoding)

    def _summary(self) -> str:
        warnings = self.count(State.WARNING)
        named = "1 warning" if warnings == 1 else f"{warnings} warnings"
        return f"{self.count(State.OK)} fine, {named}, {self.count(State.WRONG)} wrong"


def _clean(text: str, secrets: Collection[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = " ".join(text.split())
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _can_show(characters: str, encoding: str) -> bool:
    try:
        characters.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
