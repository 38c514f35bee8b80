"""The bridge: an engine that knows nothing of us publishes its KV events, and they become an observed instance in our log.

`wire` reads what vLLM and SGLang send; `feed` gets it whole and in order, or says what is missing; `recorder` writes it.
"""

from kvbm_nats.bridge.bridge import Bridge
from kvbm_nats.bridge.feed import Feed

__all__ = ["Bridge", "Feed"]
