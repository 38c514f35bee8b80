"""The device tier on a GPU: an engine's memory or our own, and what moves its blocks to pinned host memory and back."""

from kvbm_tiers.cuda.adopt import Tensor, adopt
from kvbm_tiers.cuda.calibrate import calibrate
from kvbm_tiers.cuda.device import CudaDevice
from kvbm_tiers.cuda.device_hash import DeviceHash
from kvbm_tiers.cuda.disk_mover import GDS, NixlDeviceMover, Plugin
from kvbm_tiers.cuda.gds import gds_flaw, gds_flaw_of
from kvbm_tiers.cuda.lane import Lane, Way, Ways
from kvbm_tiers.cuda.mover import CudaMover
from kvbm_tiers.cuda.pool import DevicePool
from kvbm_tiers.cuda.sharing import open_shared, share

__all__ = [
    "GDS",
    "CudaDevice",
    "CudaMover",
    "DeviceHash",
    "DevicePool",
    "Lane",
    "NixlDeviceMover",
    "Plugin",
    "Tensor",
    "Way",
    "Ways",
    "adopt",
    "calibrate",
    "gds_flaw",
    "gds_flaw_of",
    "open_shared",
    "share",
]
