"""Small traces of both formats."""

from __future__ import annotations

import json


def mooncake_line(timestamp=0, tokens=1536, ids=(0, 1, 2), **more) -> str:
    row = {"timestamp": timestamp, "input_length": tokens, "output_length": 7, "hash_ids": list(ids), **more}
    return json.dumps(row) + "\n"


def agent_entry(t, ids, **more) -> dict[str, object]:
    return {"t": t, "type": "n", "in": 64 * len(ids) + 5, "out": 9, "hash_ids": list(ids), **more}


def session(*requests, name="s1", **more) -> str:
    return json.dumps({"id": name, "block_size": 64, "hash_id_scope": "local", "requests": list(requests), **more})
