"""What a panel process counts and measures by itself: requests, launches, the way of events, the process.

One :class:`Meters` per panel, with a registry of its own: panels in one process, as tests have them, share no numbers.
Counting must never fail nor wait, since requests and streams do it on their way. Labels come from our own words and
from route templates alone; what a client sends is never one.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, ProcessCollector

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "other"

NO_STATUS = "none"
"""Status class of a request that was broken off before it had an answer."""

REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
LAUNCH_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
EVENT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Meters:
    """The counters and histograms of one panel process.

    Attributes:
        registry: all of them, with the metrics of the process.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._requests = Counter(
            "kodosumi_http_requests",
            "Requests that this panel has answered, by route template; a stream counts when it ends.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._durations = Histogram(
            "kodosumi_http_request_duration_seconds",
            "From a request's arrival until its answer was sent whole; of a stream, until it ended.",
            ("method", "route"),
            buckets=REQUEST_BUCKETS_S,
            registry=self.registry,
        )
        self._launches = Histogram(
            "kodosumi_launch_duration_seconds",
            "From the arrival of a request that launches a run until its app has answered with the run's id.",
            buckets=LAUNCH_BUCKETS_S,
            registry=self.registry,
        )
        self._events = Histogram(
            "kodosumi_event_latency_seconds",
            "From an event's own timestamp (the clock of its runner) until a viewer's stream of this panel sent it on. "
            "A sample: the oldest event of a chunk, at most 50 a second; what a viewer reads up on isn't in it.",
            buckets=EVENT_BUCKETS_S,
            registry=self.registry,
        )

    def answered(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Counts a request that is over.

        Args:
            method: of HTTP, as the client sent it. route: the template of its route.
            status: of the answer, 0 when there was none. duration_s: from its arrival.
        """
        known = method if method in METHODS else OTHER_METHOD
        self._requests.labels(known, route, f"{status // 100}xx" if status else NO_STATUS).inc()
        self._durations.labels(known, route).observe(duration_s)

    def launched(self, duration_s: float) -> None:
        """Counts a launch.

        Args:
            duration_s: from the request's arrival until the app has answered with the run's id.
        """
        self._launches.observe(duration_s)

    def sent_on(self, latency_s: float) -> None:
        """Counts an event that a viewer's stream has sent on.

        Args:
            latency_s: age of the event then.
        """
        self._events.observe(latency_s)
