"""The reasons behind the cache: a block's life, a request's story, why a look-up missed, and what differs between moments.

Each question is a module; all of them read an open `Projection` and nothing else. `docs/explain.md` shows the answers.
"""

from kvbm_nats.explain.contents import Contents, contents_at, contents_now
from kvbm_nats.explain.difference import difference
from kvbm_nats.explain.life import block_life
from kvbm_nats.explain.miss_causes import miss_causes
from kvbm_nats.explain.story import request_story
from kvbm_nats.explain.why_miss import why_miss

__all__ = [
    "Contents",
    "block_life",
    "contents_at",
    "contents_now",
    "difference",
    "miss_causes",
    "request_story",
    "why_miss",
]
