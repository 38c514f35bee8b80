"""Where the real traces are, and projections in every database."""

from projection.conftest import postgres, url
from traces.conftest import real_traces

__all__ = ["postgres", "real_traces", "url"]
