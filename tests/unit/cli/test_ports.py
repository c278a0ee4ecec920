"""Ports: what is taken, by whom."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from kodosumi.start.ports import owner_of, port_taken
from tests.doctor import held_port


def test_a_port_that_is_listened_on_is_taken_and_a_closed_one_is_not() -> None:
    with held_port() as port:
        with socket.create_server(("127.0.0.1", port)):
            assert port_taken("127.0.0.1", port)
        assert not port_taken("127.0.0.1", port)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells who listens")
def test_the_owner_of_a_port_is_named_with_its_process_id() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        owner = owner_of(server.getsockname()[1])

    assert owner is not None
    assert f"(pid {os.getpid()})" in owner


def test_a_port_that_nobody_listens_on_has_no_owner() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))

        assert owner_of(bound.getsockname()[1]) is None
