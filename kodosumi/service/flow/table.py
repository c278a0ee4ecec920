"""The table of registered sources, each row with all that its source last said: one write replaces it as a whole."""

from __future__ import annotations

from sqlalchemy import Float, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base


class Source(Base):
    """One registered source.

    Attributes:
        url: canonical address.
        added_at: UTC seconds.
        due_at: when some panel process should read it again; moved ahead by whichever takes it.
        fetched_at: when it last answered, or None.
        failures: failed attempts since then.
        error: why the last attempt failed, wholly or for some of its apps; empty when it didn't.
        version: changes with every change of ``apps`` or ``error``.
        apps: JSON, see ``apps.py``.
    """

    __tablename__ = "sources"

    url: Mapped[str] = mapped_column(String(2048), primary_key=True)
    added_at: Mapped[float] = mapped_column(Float)
    due_at: Mapped[float] = mapped_column(Float, index=True)
    fetched_at: Mapped[float | None] = mapped_column(Float, default=None)
    failures: Mapped[int] = mapped_column(Integer, default=0)
    error: Mapped[str] = mapped_column(Text, default="")
    version: Mapped[str] = mapped_column(String(32))
    apps: Mapped[str] = mapped_column(Text, default="[]")
