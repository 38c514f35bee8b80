"""The tier worker: one rank's memory, moving what the log says and telling the owner how it went."""

from kvbm_tiers.worker.claim import RankTaken
from kvbm_tiers.worker.plan import WorkerPlan, WorkerRefused
from kvbm_tiers.worker.worker import Worker, WorkerOptions

__all__ = ["RankTaken", "Worker", "WorkerOptions", "WorkerPlan", "WorkerRefused"]
