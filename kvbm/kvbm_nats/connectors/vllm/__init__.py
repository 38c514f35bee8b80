"""The connector for vLLM 0.32 and later: `--kv-transfer-config '{"kv_connector": "KvbmConnector", …}'`; docs/vllm.md.

`connector` is what vLLM calls, and nothing but a door. Behind it `scheduler` decides, in the engine core's process, and
`worker` moves bytes, in each worker's. What they say to each other goes with vLLM's own step messages (`orders`).

`tier` is what vLLM calls where it offloads to host memory by itself; behind it is `tiering`. Both have their `owner` alike.
"""

# pyright: reportMissingImports=false
# vLLM is not installed where types are checked

from __future__ import annotations


def register() -> None:
    """Make the connector known to vLLM by its name. vLLM calls this in each of its processes, as a general plugin."""
    from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory  # noqa: PLC0415 - no vLLM, no plugin

    if "KvbmConnector" not in KVConnectorFactory._registry:  # noqa: SLF001 - it has no other question, and refuses twice
        KVConnectorFactory.register_connector("KvbmConnector", f"{__name__}.connector", "KvbmConnector")
