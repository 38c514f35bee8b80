"""What `offload` and `onboard` give to who asked: how far the blocks are, without waiting.

ticket = manager.onboard("req-1", keys, source="g2")
...                          # an engine's next steps; every command moves transfers on
if ticket.is_over:
    usable = manager.resident(keys)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from kvbm_events.schema import TierName


class Ticket:
    """See the module. Reading it sends nothing and moves nothing.

    :ivar keys: the blocks that were asked for
    :ivar request: who waits for them; empty for an offload
    :ivar waiting: blocks that have not begun their way
    :ivar transfers: ids of the transfers that were started for it
    :ivar shared: blocks that were there by their turn, or that somebody else's transfer brings: the request holds them
        when it looks them up again
    :ivar failed: blocks that did not come and will not, by reason
    """

    def __init__(
        self,
        keys: Sequence[str],
        source: TierName,
        tier: TierName,
        request: str,
        is_coming: Callable[[TierName, Sequence[str]], bool],
    ) -> None:
        self.keys, self.request = keys, request
        self.source: TierName = source
        self.tier: TierName = tier
        self.waiting, self.shared = 0, 0
        self.transfers: list[str] = []
        self.failed = Counter[str]()
        self._is_coming, self._was_over = is_coming, False

    @property
    def is_over(self) -> bool:
        """Whether nothing of it waits or is under way, be it for somebody else, and what arrived can be matched.

        Whether that is all of it says the tier: `BlockManager.resident`.
        """
        if not self._was_over:
            self._was_over = not self.waiting and not self._is_coming(self.tier, self.keys)
        return self._was_over
