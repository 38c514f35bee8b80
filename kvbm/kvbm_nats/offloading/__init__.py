"""Which blocks move from tier to tier, when, and what came of it: the owner's part of every transfer.

`admission` says what goes down by itself, `path_queue` what waits, `paths` what begins; `offloader` gives it to the mover
and takes its reports; a `ticket` tells who asked.
"""

from kvbm_nats.offloading.offloader import Offloader
from kvbm_nats.offloading.ticket import Ticket

__all__ = ["Offloader", "Ticket"]
