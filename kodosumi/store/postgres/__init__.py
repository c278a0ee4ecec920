"""Executions in one PostgreSQL database that any number of panels and spoolers share."""

from __future__ import annotations

from .store import PostgresExecutionStore

__all__ = ["PostgresExecutionStore"]
