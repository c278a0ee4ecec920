"""Transports: one table, one factory. See ``base.py`` for the contract."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

from ..config import Settings
from ..error import ConfigurationError
from .base import (
    CommitFeed,
    ConsumerStatus,
    Delivery,
    EventConsumer,
    EventProducer,
    ProducerTicket,
    Transport,
    TransportStatus,
)

TRANSPORTS = {
    "ray": "kodosumi.transport.ray:RayTransport",
    "memory": "kodosumi.transport.memory:MemoryTransport",
    "redis": "kodosumi.transport.redis:RedisTransport",
}
"""Value of ``KODO_EVENT_TRANSPORT`` -> class, imported when chosen."""

__all__ = [
    "TRANSPORTS",
    "CommitFeed",
    "ConsumerStatus",
    "Delivery",
    "EventConsumer",
    "EventProducer",
    "ProducerTicket",
    "Transport",
    "TransportStatus",
    "connect_transport",
    "transport_from",
]


class _Member(Protocol):
    """What a class of the table offers."""

    def from_settings(self, settings: Settings) -> Transport: ...

    def from_options(self, options: Mapping[str, Any]) -> Transport: ...


def connect_transport(settings: Settings) -> Transport:
    """The transport that ``KODO_EVENT_TRANSPORT`` chooses.

    Raises:
        ConfigurationError: an unknown value (lists the choices) or a missing extra (names it).
    """
    return _member(settings.event_transport).from_settings(settings)


def transport_from(ticket: ProducerTicket) -> Transport:
    """The transport that a ticket names, as a remote process connects to it."""
    return _member(ticket.transport).from_options(ticket.options)


def _member(name: str) -> _Member:
    try:
        module, _, attribute = TRANSPORTS[name].partition(":")
    except KeyError:
        raise ConfigurationError(f"KODO_EVENT_TRANSPORT={name!r}: choose one of {', '.join(TRANSPORTS)}") from None
    member: _Member = getattr(import_module(module), attribute)
    return member
