"""The text that Prometheus reads (exposition format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_WHEN_MADE = "_created"


def exposition_text(registry: CollectorRegistry, metrics: Iterable[Metric]) -> bytes:
    """The text of everything in the registry, and of these metrics.

    Args:
        registry: what is counted here. metrics: what was asked for just now.
    """
    return generate_latest(_Scrape(registry, metrics))


class _Scrape(Collector):
    """What one scrape shows, put together for it alone."""

    def __init__(self, registry: CollectorRegistry, metrics: Iterable[Metric]) -> None:
        self._registry = registry
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            # When each series was made is as many series again, which this format's readers don't use.
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith(_WHEN_MADE)]
            yield metric
        yield from self._metrics
