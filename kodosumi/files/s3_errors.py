"""The border at which what S3 and its library say becomes our errors, with what to do."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from ..error import FileMissing, FilesUnavailable

_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_METADATA_SERVICE = "/latest/api/token", "/latest/meta-data"
"""Where the library looks for keys when nobody gave it any."""

_DENIED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"})


class Translator:
    """Makes a context in which foreign errors become ours, the cause kept.

    Args:
        bucket: named in the errors.
    """

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket

    @contextlib.contextmanager
    def __call__(self, key: str) -> Iterator[None]:
        """Raises:
        FileMissing: there is no such file. FilesUnavailable: all else that the storage says.
        """
        from obstore.exceptions import BaseError

        try:
            yield
        except (FileMissing, FilesUnavailable):
            raise
        except FileNotFoundError as exc:
            if _code(exc) == "NoSuchBucket":
                raise FilesUnavailable(self._said("NoSuchBucket", exc)) from exc
            raise FileMissing(f"{key} does not exist.") from exc
        except TimeoutError as exc:
            raise FilesUnavailable(f"The bucket {self._bucket} does not answer in time; try again.") from exc
        except BaseError as exc:
            raise FilesUnavailable(self._said(_code(exc), exc)) from exc

    def _said(self, code: str, exc: Exception) -> str:
        if any(path in str(exc) for path in _METADATA_SERVICE):
            return f"No keys for the bucket {self._bucket}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        if code == "NoSuchBucket":
            return f"There is no bucket {self._bucket}: make it, or correct KODO_FILE_STORE or AWS_ENDPOINT_URL."
        if code in _DENIED or code in ("401", "403"):
            return (
                f"The bucket {self._bucket} denies access ({code}): check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
                "what its policy allows (list, get, put, delete)."
            )
        reason = f"it answers {code}" if code else _first_line(exc)
        return f"The bucket {self._bucket} cannot be used now: {reason}. See AWS_ENDPOINT_URL and AWS_REGION."


def _code(exc: Exception) -> str:
    """S3's word for what is wrong, else the HTTP status, else ""."""
    text = str(exc)
    found = _CODE.search(text) or _STATUS.search(text)
    return found[1] if found else ""


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0].rstrip(". ")
