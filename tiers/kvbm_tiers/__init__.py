"""The bytes: what moves blocks between tiers, behind one interface."""

from kvbm_tiers.cpu_device import CpuDevice
from kvbm_tiers.cuda import CudaDevice, CudaMover
from kvbm_tiers.disk_slab import DiskSlab
from kvbm_tiers.host_arena import HostArena
from kvbm_tiers.host_rows import HostRows
from kvbm_tiers.layout import Group, Layout
from kvbm_tiers.medium import Media, Medium, in_folder, parse_media
from kvbm_tiers.memory_mover import MemoryMover
from kvbm_tiers.meter import Meter, Traffic
from kvbm_tiers.mover import CORRUPT, GONE, OBJECT_TIER, OWNER_RESTARTED, Deletion, Job, Memory, Mover, Report, loss
from kvbm_tiers.nixl_object_mover import NixlObjectMover
from kvbm_tiers.nixl_posix_mover import NixlPosixMover
from kvbm_tiers.objects import Bucket
from kvbm_tiers.presets import PRESETS, preset
from kvbm_tiers.routed_mover import RoutedMover, open_mover
from kvbm_tiers.slicing import Slice
from kvbm_tiers.stack import Stack
from kvbm_tiers.store import Opening, Store
from kvbm_tiers.thread_mover import ThreadMover

__all__ = [
    "CORRUPT",
    "GONE",
    "OBJECT_TIER",
    "OWNER_RESTARTED",
    "PRESETS",
    "Bucket",
    "CpuDevice",
    "CudaDevice",
    "CudaMover",
    "Deletion",
    "DiskSlab",
    "Group",
    "HostArena",
    "HostRows",
    "Job",
    "Layout",
    "Media",
    "Medium",
    "Memory",
    "MemoryMover",
    "Meter",
    "Mover",
    "NixlObjectMover",
    "NixlPosixMover",
    "Opening",
    "Report",
    "RoutedMover",
    "Slice",
    "Stack",
    "Store",
    "ThreadMover",
    "Traffic",
    "in_folder",
    "loss",
    "open_mover",
    "parse_media",
    "preset",
]
