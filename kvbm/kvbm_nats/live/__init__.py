"""What an instance does now: the log's events as they come, made into figures of each interval. For `kvbm stat` and `kvbm top`.

Pure      `Meter` (events in, a `Sample` for each interval out), `Moves` (transfers), `Loose` (entries to events)
Watching  `Watch`: follows a log and asks services, and gives a `View` for each interval; `WatchThread`: the same on a thread
"""

from kvbm_nats.live.meter import Meter
from kvbm_nats.live.moves import Move
from kvbm_nats.live.sample import PathFlow, Sample, TierFlow
from kvbm_nats.live.view import View
from kvbm_nats.live.watch import Watch, WatchOptions

__all__ = ["Meter", "Move", "PathFlow", "Sample", "TierFlow", "View", "Watch", "WatchOptions"]
