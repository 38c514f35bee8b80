"""Several movers as one, and the best that this machine has for its stores."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from kvbm_events.schema import TierName
from kvbm_kernels.errors import CudaFailed
from kvbm_tiers.cuda import CudaDevice, CudaMover, NixlDeviceMover, gds_flaw_of
from kvbm_tiers.disk_slab import DiskSlab
from kvbm_tiers.errors import NixlUnavailable
from kvbm_tiers.host_arena import HostArena
from kvbm_tiers.job_book import wall_clock_us
from kvbm_tiers.meter import Path
from kvbm_tiers.mover import Deletion, Job, Memory, Mover, Report
from kvbm_tiers.nixl_object_mover import NixlObjectMover
from kvbm_tiers.nixl_posix_mover import NixlPosixMover
from kvbm_tiers.objects.bucket import Bucket
from kvbm_tiers.remote.mover import NixlUcxMover
from kvbm_tiers.remote.store import RemoteMemory
from kvbm_tiers.store import Store, the_only
from kvbm_tiers.thread_mover import ThreadMover

_logger = structlog.get_logger(__name__)


class RoutedMover:
    """Gives each job to the mover of its path."""

    def __init__(self, by_path: Mapping[Path, Mover], otherwise: Mover) -> None:
        """Route by source and destination; the movers are this one's own from here on.

        Args:
            by_path: who moves between two tiers
            otherwise: who moves between all others
        """
        self._by_path, self._otherwise = dict(by_path), otherwise
        self._movers = list({id(mover): mover for mover in (*by_path.values(), otherwise)}.values())

    def begin(self, epoch: int, left: Mapping[str, Sequence[int]]) -> bool:
        """See `Mover.begin`."""
        said = [mover.begin(epoch, left) for mover in self._movers]
        return all(said)

    def memories(self) -> list[Memory]:
        """See `Mover.memories`."""
        return [memory for mover in self._movers for memory in mover.memories()]

    def submit(self, job: Job) -> None:
        """See `Mover.submit`."""
        self._by_path.get((job.source, job.tier), self._otherwise).submit(job)

    def poll(self) -> list[Report]:
        """See `Mover.poll`."""
        return [report for mover in self._movers for report in mover.poll()]

    def watch(self, changed: Callable[[], None]) -> None:
        """See `Mover.watch`."""
        for mover in self._movers:
            mover.watch(changed)

    def cancel(self, transfer: str) -> None:
        """See `Mover.cancel`."""
        for mover in self._movers:
            mover.cancel(transfer)

    def forget(self, deletion: Deletion) -> None:
        """See `Mover.forget`. Each of the movers knows its stores; to be told twice does a store no harm."""
        for mover in self._movers:
            mover.forget(deletion)

    def close(self) -> None:
        """See `Mover.close`."""
        for mover in self._movers:
            mover.close()


def open_mover(stores: Mapping[TierName, Store], *, now_us: Callable[[], int] = wall_clock_us) -> Mover:
    """The mover between these stores: disk by NIXL where it is installed, a memory host by NIXL, a GPU by CUDA, objects as
    they say.

    Raises:
        NamespaceMismatch: the stores are not of one layout.
        NixlUnavailable, MemoryUnavailable: a memory host cannot be reached.
    """
    by_path: dict[Path, Mover] = {}
    try:
        disks: list[TierName] = [tier for tier, store in stores.items() if isinstance(store, DiskSlab)]
        if disks and (nixl := _by_nixl("disk", lambda: NixlPosixMover(stores, now_us=now_us))):
            by_path |= dict.fromkeys(_paths(stores, disks), nixl)
        by_path |= _by_cuda(stores, now_us)
        by_path |= _by_gds(stores, now_us)
        for tier, store in stores.items():
            if isinstance(store, RemoteMemory):
                by_path |= dict.fromkeys(_paths(stores, [tier]), NixlUcxMover(stores, tier, now_us=now_us))
        for tier, store in stores.items():
            if isinstance(store, Bucket):
                by_path |= dict.fromkeys(_paths(stores, [tier]), _object_mover(stores, store, now_us))
        threads = ThreadMover(stores, now_us=now_us)
    except BaseException:
        for mover in set(by_path.values()):
            mover.close()
        raise
    return RoutedMover(by_path, otherwise=threads) if by_path else threads


def _paths(stores: Mapping[TierName, Store], tiers: Collection[TierName]) -> list[Path]:
    """All paths with one end among these tiers."""
    return [(one, other) for one in stores for other in stores if (one in tiers) != (other in tiers)]


def _by_cuda(stores: Mapping[TierName, Store], now_us: Callable[[], int]) -> dict[Path, Mover]:
    """Who moves between a GPU and an arena, where there is one of each."""
    gpus: list[TierName] = [tier for tier, store in stores.items() if isinstance(store, CudaDevice)]
    arenas: list[TierName] = [tier for tier, store in stores.items() if isinstance(store, HostArena)]
    if not len(gpus) == len(arenas) == 1:
        return {}
    (gpu,), (arena,) = gpus, arenas
    try:
        mover = CudaMover({gpu: stores[gpu], arena: stores[arena]}, now_us=now_us)
    except CudaFailed as error:
        _logger.warning("blocks go to and from the GPU one by one, by memory that is not pinned", why=str(error))
        return {}
    return {(gpu, arena): mover, (arena, gpu): mover}


def _by_gds(stores: Mapping[TierName, Store], now_us: Callable[[], int]) -> dict[Path, Mover]:
    """Who moves between a GPU and a disk without passing host memory, where there is one of each and the machine can do it."""
    try:
        (gpu, device), (disk, slab) = the_only(stores, CudaDevice), the_only(stores, DiskSlab)
    except ValueError:
        return {}
    why = gds_flaw_of(device, slab)
    if not why:
        try:
            mover = NixlDeviceMover({gpu: device, disk: slab}, now_us=now_us)
        except (CudaFailed, NixlUnavailable) as error:
            why = str(error)
        else:
            _logger.info("blocks go between device and disk by GPUDirect Storage", path=str(slab.path))
            return {(gpu, disk): mover, (disk, gpu): mover}
    _logger.info("blocks go between device and disk over host memory", path=str(slab.path), why=why)
    return {}


def _object_mover(stores: Mapping[TierName, Store], bucket: Bucket, now_us: Callable[[], int]) -> Mover:
    if bucket.blocks.place.via == "nixl":
        nixl = _by_nixl("object storage", lambda: NixlObjectMover(stores, bucket, now_us=now_us))
        if nixl:
            return nixl
    return ThreadMover(stores, threads=bucket.blocks.place.requests, batch_bytes=0, now_us=now_us)


def _by_nixl(where: str, make: Callable[[], Mover]) -> Mover | None:
    try:
        return make()
    except NixlUnavailable as error:
        _logger.warning("blocks go by threads, not by NIXL", to=where, why=str(error))
        return None
