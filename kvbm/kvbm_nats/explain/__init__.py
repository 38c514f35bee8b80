"""The reasons behind the cache: a block's life, a request's story, why a look-up missed, and what differs between moments.

Each question is a module; all of them read an open `Projection` and nothing else. `docs/explain.md` shows the answers.
"""

from kvbm_nats.explain.contents import Contents, contents_at, contents_now
from kvbm_nats.explain.difference import difference, differences_between
from kvbm_nats.explain.heat import tiers_heat
from kvbm_nats.explain.hit_ratio import hits_over_time
from kvbm_nats.explain.life import block_life, whole_key
from kvbm_nats.explain.miss_causes import miss_causes
from kvbm_nats.explain.recent import recent_requests
from kvbm_nats.explain.states import instance_state, states_at
from kvbm_nats.explain.story import request_story
from kvbm_nats.explain.why_miss import why_miss

__all__ = [
    "Contents",
    "block_life",
    "contents_at",
    "contents_now",
    "difference",
    "differences_between",
    "hits_over_time",
    "instance_state",
    "miss_causes",
    "recent_requests",
    "request_story",
    "states_at",
    "tiers_heat",
    "whole_key",
    "why_miss",
]
