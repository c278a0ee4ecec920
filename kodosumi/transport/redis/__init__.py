"""Redis Streams: the transport with which any number of spoolers share the work. See ``transport.py``."""

from __future__ import annotations

from .consumer import RedisStreamConsumer
from .producer import RedisStreamProducer
from .transport import RedisTransport

__all__ = ["RedisStreamConsumer", "RedisStreamProducer", "RedisTransport"]
