"""The owner's side of tier workers in processes of their own."""

from kvbm_nats.workers.ledger import Ledger
from kvbm_nats.workers.mover import WorkerMover, WorkerOptions

__all__ = ["Ledger", "WorkerMover", "WorkerOptions"]
