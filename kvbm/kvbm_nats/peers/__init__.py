"""Blocks that other instances of the namespace have put into object storage: known from their logs, and read from there.

`blocks` is what one of them has, `follower` reads the logs in a thread of its own, `finding` says what a look-up may go on
with, `names` which instances are meant, and `peers` is what an owner does with it.
"""

from kvbm_nats.peers.follower import Follower
from kvbm_nats.peers.peers import Peers, plan_following

__all__ = ["Follower", "Peers", "plan_following"]
