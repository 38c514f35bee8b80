"""Reading a log again: to verify what is live, to stop at a moment, to fill a projection, to take a copy away."""

from kvbm_nats.replay.export import export
from kvbm_nats.replay.moment import Moment, parse_moment
from kvbm_nats.replay.verify import Verdict, verify

__all__ = ["Moment", "Verdict", "export", "parse_moment", "verify"]
