"""The URL of each view, and the path that a name from outside can be part of."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

_PLAIN = re.compile(r"(?!.*\.json$)[A-Za-z0-9_~][A-Za-z0-9_.~-]*")
"""Names that are a path's segment as they stand: no browser makes anything else of them, and no suffix is taken for ours."""


def instance(name: str, view: str = "", /, **query: object) -> str:
    """A view of an instance: `/i/NAME`, `/i/NAME/misses?at=7`; what is empty is left out of the query."""
    return _with(f"/i/{quote(name, safe='')}{'/' if view else ''}{view}", query)


def block(name: str, key: str, /, **query: object) -> str:
    """A block's life."""
    return instance(name, f"blocks/{quote(key, safe='')}", **query)


def request(name: str, request_id: str, /, **query: object) -> str:
    """A request's story. Ids that cannot stand in a path are in the query."""
    if _PLAIN.fullmatch(request_id):
        return instance(name, f"requests/{request_id}", **query)
    return instance(name, "request", id=request_id, **query)


def request_twin(name: str, request_id: str, /, **query: object) -> str:
    """What `kvbm request show --json` says of a request."""
    if _PLAIN.fullmatch(request_id):
        return instance(name, f"requests/{request_id}.json", **query)
    return instance(name, "request.json", id=request_id, **query)


def why_twin(name: str, request_id: str, /, **query: object) -> str:
    """What `kvbm why-miss --json` says of a request."""
    if _PLAIN.fullmatch(request_id):
        return instance(name, f"requests/{request_id}/why-miss.json", **query)
    return instance(name, "why-miss.json", id=request_id, **query)


def twin(path: str, query: str) -> str:
    """The `.json` twin of a page."""
    own = "/index.json" if path == "/" else f"{quote(path)}.json"
    return f"{own}?{query}" if query else own


def _with(path: str, query: dict[str, object]) -> str:
    given = [(key.rstrip("_"), str(value)) for key, value in query.items() if value not in {None, ""}]
    return f"{path}?{urlencode(given)}" if given else path
