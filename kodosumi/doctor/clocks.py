"""Clocks of other machines: leases, tokens and times in timelines need them to agree with this one's."""

from __future__ import annotations

from .report import Finding, fine, warning, wrong

SKEW_S, FAR_S = 1.0, 5.0


def compared(theirs_s: float, before_s: float, after_s: float, precision_s: float = 0.0) -> Finding:
    """What another clock means, as far as it is certain.

    Args:
        theirs_s: what it showed, seconds since the epoch.
        before_s: what ours showed before it was asked. after_s: after it had answered.
        precision_s: by how much its answer may be off by itself, in either direction.
    """
    apart_s = theirs_s - (before_s + after_s) / 2
    certain_s = max(0.0, abs(apart_s) - (after_s - before_s) / 2 - precision_s)
    if certain_s <= SKEW_S:
        return fine("clock", "agrees with this machine's")
    text = f"{certain_s:,.1f} s {'ahead of' if apart_s > 0 else 'behind'} this machine's"
    remedy = "Keep the clocks of both machines right by NTP: `timedatectl set-ntp true`."
    return wrong("clock", text, remedy) if certain_s > FAR_S else warning("clock", text, remedy)
