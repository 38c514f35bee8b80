"""What was moved since it was last asked, path by path: the numbers behind vLLM's own metrics."""

from __future__ import annotations

from kvbm_tiers import Meter

Moved = dict[str, dict[str, float]]
"""By path, `g1_g2`: blocks, bytes, failed blocks and seconds in which something was under way."""


class Traffic:
    """See the module."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._before: Moved = {}

    def take(self) -> Moved:
        """What changed since the last time; paths where nothing did are left out."""
        news: Moved = {}
        for (source, tier), traffic in self._meter.traffic.items():
            path = f"{source}_{tier}"
            now = {
                "blocks": float(traffic.blocks),
                "bytes": float(traffic.size_bytes),
                "failed": float(traffic.failed),
                "seconds": traffic.busy_s,
            }
            before = self._before.get(path, dict.fromkeys(now, 0.0))
            if now != before:
                news[path] = {name: value - before[name] for name, value in now.items()}
                self._before[path] = now
        return news
