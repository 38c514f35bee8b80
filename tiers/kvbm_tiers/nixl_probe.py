"""Which of NIXL's plug-ins can be used here. Run as a program, since a plug-in that does not load may end its process.

    python -m kvbm_tiers.nixl_probe [gds]

prints a line of JSON. GDS is asked for only where there is a GPU: on a host without one it never answers.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib import metadata
from typing import Any

import msgspec
from msgspec import Struct

from kvbm_tiers.cuda.gds import prepare_gds

PACKAGE = "nixl-cu12"


class NixlState(Struct, frozen=True, kw_only=True):
    """What was found.

    :ivar usable: plug-ins that load
    :ivar unusable: those that do not
    """

    version: str
    usable: tuple[str, ...]
    unusable: tuple[str, ...]


def probe(*, with_gds: bool) -> NixlState:
    """Load every plug-in. Raises ImportError if NIXL is not installed, and what its bindings raise if it does not start."""
    if with_gds:
        prepare_gds()
    api: Any = importlib.import_module("nixl_cu12._api")
    agent = api.nixl_agent("kvbm-doctor", api.nixl_agent_config(backends=[], enable_prog_thread=False))
    found: dict[bool, list[str]] = {True: [], False: []}
    for name in sorted(agent.get_plugin_list()):
        asked = with_gds or not name.startswith("GDS")
        found[asked and _loads(agent, name)].append(name)
    return NixlState(version=metadata.version(PACKAGE), usable=tuple(found[True]), unusable=tuple(found[False]))


def _loads(agent: Any, name: str) -> bool:  # noqa: ANN401 - NIXL's bindings have no types
    try:
        agent.agent.getPluginParams(name)
    except Exception:  # noqa: BLE001 - a type of its bindings' own
        return False
    return True


if __name__ == "__main__":
    os.environ.setdefault("NIXL_LOG_LEVEL", "ERROR")
    sys.stdout.buffer.write(msgspec.json.encode(probe(with_gds="gds" in sys.argv[1:])) + b"\n")
    sys.stdout.flush()
    os._exit(0)  # libraries that plug-ins brought along may not survive the interpreter's end
