"""The table of keys by which callers say that several requests are one launch."""

from __future__ import annotations

from sqlalchemy import Float, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base


class IdempotencyKey(Base):
    """One key of one user at one address of an app.

    Attributes:
        id: SHA-256 of user, method, address and key, in hex.
        fid: the execution that these requests launch, all of them the same.
        fingerprint: SHA-256 of query and body, in hex; empty while no request was sent to its end.
        holder: whose request is on its way to the app; held_until: so long it is its holder's alone (UTC seconds).
        expires_at: UTC seconds; afterwards the key means nothing.
        status: of the answer that launched it, None when there is none yet.
        headers: of that answer, JSON pairs. body: likewise, None when it is too large to be kept.
    """

    __tablename__ = "idempotency_keys"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    fid: Mapped[str] = mapped_column(String(24))
    fingerprint: Mapped[str] = mapped_column(String(64), default="")
    holder: Mapped[str] = mapped_column(String(32))
    held_until: Mapped[float] = mapped_column(Float)
    expires_at: Mapped[float] = mapped_column(Float, index=True)
    status: Mapped[int | None] = mapped_column(Integer, default=None)
    headers: Mapped[str] = mapped_column(Text, default="")
    body: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
