"""Templates: an author's Jinja2 pages that may build on the panel's."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from starlette.templating import Jinja2Templates

PANEL_TEMPLATES = Path(__file__).parent.parent / "service" / "admin" / "templates"

_Folder = str | PathLike[str]


class Templates(Jinja2Templates):
    """Starlette's ``Jinja2Templates`` with the panel's templates first, and ``static(path)`` for the panel's assets.

    Args:
        directory: folder or folders of the author's templates.
        options: as Starlette's.
    """

    def __init__(self, directory: _Folder | Sequence[_Folder] = (), **options: Any) -> None:
        own = [directory] if isinstance(directory, (str, PathLike)) else list(directory)
        super().__init__(directory=[PANEL_TEMPLATES, *own], **options)
        self.env.globals["static"] = static
        self._declared = (own, options)

    def __reduce__(self) -> tuple[Any, ...]:
        # Jinja's environment can't be pickled, and an app's functions may carry its templates to a replica.
        return _remade, (type(self), *self._declared)


def static(path: str) -> str:
    """The address of one of the panel's assets, from any page shown by the panel."""
    return f"/static/{path}"


def _remade(kind: type[Templates], directory: list[_Folder], options: dict[str, Any]) -> Templates:
    return kind(directory, **options)
