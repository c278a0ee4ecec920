"""All flows of all sources, in memory: search, pages, tags, and which app a request may go to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .address import Address
from .apps import App
from .document import Endpoint


class UnknownOffset(LookupError):
    """No flow has the id that a page should begin after."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some flows; ``offset`` leads to the next ones, None at the end."""

    items: list[Endpoint]
    offset: str | None


class Catalog:
    """What is registered at one moment; never changes.

    Args:
        apps: of all sources; of two with one address the one that is not stale counts.
    """

    def __init__(self, apps: Iterable[App] = ()) -> None:
        self._apps = {app.address: app for app in sorted(apps, key=lambda app: not app.stale)}
        flows = {flow.uid: flow for app in self._apps.values() for flow in app.endpoints}
        self.flows: list[Endpoint] = sorted(flows.values(), key=lambda flow: (flow.summary, flow.url))
        self._words = {flow.uid: flow.words for flow in self.flows}

    def knows(self, address: Address) -> bool:
        """Whether an app is registered."""
        return address in self._apps

    def find(self, url: str) -> Endpoint | None:
        """The flow at a place under the panel."""
        return next((flow for flow in self.flows if flow.url == url), None)

    def search(self, query: str) -> list[Endpoint]:
        """Flows that contain ``query`` in their words, in order."""
        wanted = query.strip().casefold()
        return [flow for flow in self.flows if wanted in self._words[flow.uid]]

    def page(self, query: str, size: int, offset: str | None) -> Page:
        """Flows that match, after the one with id ``offset``.

        Raises:
            UnknownOffset: no flow has that id.
        """
        found = self.search(query)
        start = 0
        if offset is not None:
            last = next((flow for flow in self.flows if flow.uid == offset), None)
            if last is None:
                raise UnknownOffset(offset)
            # By place in the order, not in the result: the flow may have stopped matching meanwhile.
            start = sum((flow.summary, flow.url) <= (last.summary, last.url) for flow in found)
        items = found[start : start + size]
        more = len(found) > start + size
        return Page(items, items[-1].uid if items and more else None)

    def tags(self) -> dict[str, int]:
        """How many flows have each tag, by tag."""
        return dict(sorted(Counter(tag for flow in self.flows for tag in flow.tags).items()))
