"""What can go wrong with a Redis, in one line that says what to do, without any credential."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator

from ...error import ConfigurationError
from .address import Address
from .driver import redis

NAME = "KODO_REDIS_URL"

_OUT_OF_MEMORY = "used memory > 'maxmemory'"

_ANSWERS = (
    ("WRONGPASS", f"user name or password are wrong: correct them in {NAME}", True),
    ("invalid username-password", f"user name or password are wrong: correct them in {NAME}", True),
    ("invalid password", f"the password is wrong: correct it in {NAME}", True),
    ("called without any password configured", f"it has no password set: take it out of {NAME}", True),
    ("Authentication required", f"it asks for a password: put it into {NAME}", True),
    ("NOAUTH", f"it asks for a password: put it into {NAME}", True),
    ("NOPERM", "its user may not do that ({said}): give the user the rights that the manual lists", True),
    ("has no permissions", "its user may not do that ({said}): give the user the rights that the manual lists", True),
    ("DB index is out of range", f"it has no such database number: correct it in {NAME}", True),
    ("invalid DB index", f"it has no such database number: correct it in {NAME}", True),
    ("cluster support disabled", f"it is no cluster: take `+cluster` out of {NAME}", True),
    ("Cluster mode is not enabled", f"it is no cluster: take `+cluster` out of {NAME}", True),
    ("CROSSSLOT", f"it is a cluster: write redis+cluster:// in {NAME}", True),
    ("MOVED", f"it is a cluster: write redis+cluster:// in {NAME}", True),
    ("READONLY", "it is a replica", False),
    ("LOADING", "it is still loading its data", False),
    ("MASTERDOWN", "it is a replica without its master", False),
    ("CLUSTERDOWN", "the cluster is down", False),
    ("MISCONF", "it takes no writes, as it cannot save its data: see its log", False),
    (_OUT_OF_MEMORY, "its memory is used up: raise its `maxmemory`, or let the spooler catch up", False),
    ("the handler is closed", "the connection was lost", False),
    ("No master found", "the sentinels know no master of this name now", False),
)
"""Words of an answer -> what is wrong, and whether it stays so."""


class Problem:
    """What an error means.

    Args:
        exc: what redis-py or the system raised. address: where it was to go.

    Attributes:
        text: one line. permanent: trying again cannot help.
        out_of_memory: the server takes nothing more now.
    """

    def __init__(self, exc: BaseException, address: Address) -> None:
        # redis-py cuts the first word, which says what sort of answer it is, off some answers.
        said = " ".join([getattr(exc, "status_code", None) or "", *str(exc).split()]).strip().rstrip(".")
        for secret in address.secrets:
            said = said.replace(secret, "…")
        reason, self.permanent = _reason(exc, said)
        self.out_of_memory = _OUT_OF_MEMORY in said
        self.text = f"Redis at {address.shown}: {reason.format(said=said[:300] or type(exc).__name__)}."


def _reason(exc: BaseException, said: str) -> tuple[str, bool]:
    if isinstance(exc, ConfigurationError):
        return "{said}", True
    for words, reason, permanent in _ANSWERS:
        if words in said:
            return reason, permanent
    for one in _chain(exc):
        if isinstance(one, socket.gaierror):
            return f"its host name is unknown: correct the host in {NAME}", one.errno != socket.EAI_AGAIN
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its TLS certificate is not trusted ({{said}}): check `ssl_ca_certs` and the host in {NAME}", True
        if isinstance(one, ssl.SSLError):
            return f"TLS fails ({{said}}): check the scheme and the TLS parameters in {NAME}", False
        if isinstance(one, FileNotFoundError):
            return f"a file it names is not there ({{said}}): start the server, or correct {NAME}", False
    if isinstance(exc, asyncio.TimeoutError | TimeoutError | redis.TimeoutError):
        return f"it does not answer in time: check that it runs and that {NAME} names it", False
    if "refused" in said or "Connect call failed" in said:
        return f"nothing listens there: start the server, or correct host and port in {NAME}", False
    return "{said}", False


def _chain(exc: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    one: BaseException | None = exc
    while one is not None and one not in seen:
        seen.append(one)
        yield one
        one = one.__cause__ or one.__context__
