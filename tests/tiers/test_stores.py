"""What every store must do, and what those that survive must refuse."""

import ctypes
import os
import subprocess
import sys
from random import Random

import msgspec
import pytest
import structlog.testing

from kvbm_events.schema.errors import NamespaceMismatch
from kvbm_tiers import disk_slab
from kvbm_tiers.cpu_device import CpuDevice
from kvbm_tiers.disk_slab import DiskSlab
from kvbm_tiers.errors import StoreBusy, StoreDamaged, StoreFull
from kvbm_tiers.geometry import boxes_of, dense
from kvbm_tiers.host_arena import SHARED_MEMORY, HostArena
from kvbm_tiers.layout import ALIGNMENT, Layout
from kvbm_tiers.memory import address_of, anonymous
from kvbm_tiers.presets import preset
from kvbm_tiers.sidecar import Sidecar, path_of
from kvbm_tiers.slicing import Slice

TINY = preset("tiny")
CAPACITY = 6
SURVIVORS = {"arena": HostArena, "slab": DiskSlab}
chance = Random(3)


def block(data=b"", layout=TINY):
    view = anonymous(layout.slot_bytes)
    view[: len(data)] = data
    return view


def some_bytes(layout=TINY):
    return chance.randbytes(layout.block_bytes)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "rank0"


@pytest.fixture(params=SURVIVORS)
def survivor(request, path):
    """A way to open one kind of survivor at one place."""
    opened = []

    def open_(path=path, **more):
        store = SURVIVORS[request.param](path, **{"namespace": "m=1", "layout": TINY, "capacity": CAPACITY, **more})
        opened.append(store)
        return store

    open_.kind = request.param
    yield open_
    for store in opened:
        store.close()


@pytest.fixture(params=["arena", "slab", "device"])
def store(request, path):
    if request.param == "device":
        store = CpuDevice(TINY, CAPACITY)
    else:
        store = SURVIVORS[request.param](path, namespace="m=1", layout=TINY, capacity=CAPACITY)
    yield store
    store.close()


def test_what_is_written_is_read(store):
    written = {slot: some_bytes() for slot in (5, 0, 3)}
    for slot, data in written.items():
        store.write(slot, block(data))
    store.sync()
    for slot, data in written.items():
        store.read(slot, read := block())
        assert bytes(read[: TINY.block_bytes]) == data
    store.read(1, untouched := block(b"x"))
    assert bytes(untouched[: TINY.block_bytes]) == bytes(TINY.block_bytes)


@pytest.mark.parametrize("slot", [-1, CAPACITY])
def test_a_slot_outside_is_refused(store, slot):
    for act in (store.read, store.write):
        with pytest.raises(IndexError, match="of a store of 6"):
            act(slot, block())
    with pytest.raises(IndexError):
        store.view(slot)


def test_a_closed_survivor_moves_nothing(survivor):
    store = survivor()
    store.close()
    for act in (store.read, store.write):
        with pytest.raises(IndexError):
            act(0, block())


def test_a_view_is_the_slot_in_place_and_aligned(path):
    arena = HostArena(path, namespace="m=1", layout=TINY, capacity=CAPACITY)
    data = some_bytes()
    arena.view(4)[: len(data)] = data
    arena.read(4, read := block())
    assert bytes(read[: len(data)]) == data
    assert address_of(arena.view(4)) == arena.address + 4 * TINY.slot_bytes
    assert arena.address % ALIGNMENT == 0
    arena.close()


@pytest.mark.parametrize("name", ["tiny", "gpt-oss-20b"])
def test_a_device_gathers_and_scatters_as_the_layout_says(name):
    layout = preset(name)
    device = CpuDevice(layout, 3)
    data = some_bytes(layout)
    device.write(1, block(data, layout))
    bases = [address_of(array) for array in device.arrays]
    assert data == b"".join(
        ctypes.string_at(box.base + box.slot_stride, box.size) for box in boxes_of(layout, dense(layout, 3, bases))
    )
    assert sum(sum(map(bool, bytes(array))) for array in device.arrays) == sum(map(bool, data))
    device.read(1, read := block(layout=layout))
    assert bytes(read[: layout.block_bytes]) == data


def test_a_device_takes_an_engines_arrays_and_refuses_others():
    arrays = [memoryview(bytearray(array.size)) for array in TINY.arrays(2)]
    CpuDevice(TINY, 2, arrays).write(0, block(b"\1" * TINY.block_bytes))
    assert all(any(array) for array in arrays)
    with pytest.raises(ValueError, match="the layout has"):
        CpuDevice(TINY, 3, arrays)
    with pytest.raises(ValueError, match="a block has"):
        CpuDevice(TINY, 2, arrays).read(0, memoryview(bytearray(8)))


def test_blocks_are_kept_and_the_caller_is_told(survivor):
    first = survivor()
    assert (first.opening.state, first.opening.why) == ("reset", "it is new")
    data = some_bytes()
    first.write(2, block(data))
    first.sync()
    first.close()
    second = survivor()
    assert second.opening.state == "kept"
    assert second.opening.incarnation == first.opening.incarnation
    second.read(2, read := block())
    assert bytes(read[: len(data)]) == data


CHILD = """
import os, sys
from pathlib import Path
from kvbm_tiers.disk_slab import DiskSlab
from kvbm_tiers.host_arena import HostArena
from kvbm_tiers.memory import anonymous
from kvbm_tiers.presets import preset
layout = preset("tiny")
store = {"arena": HostArena, "slab": DiskSlab}[sys.argv[1]](Path(sys.argv[2]), namespace="m=1", layout=layout, capacity=6)
view = anonymous(layout.slot_bytes)
view[:3] = b"abc"
store.write(1, view)
store.sync()
print("written", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def other_process(survivor, path):
    """Another process that has the file open, and wrote a block into it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, survivor.kind, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert child.stdout.readline() == "written\n"
    yield child
    child.kill()
    child.communicate()


def test_one_at_a_time_and_blocks_outlive_a_process_that_is_killed(survivor, other_process):
    with pytest.raises(StoreBusy, match="in use"):
        survivor()
    other_process.kill()
    other_process.wait()
    store = survivor()
    assert store.opening.state == "kept"
    store.read(1, read := block())
    assert bytes(read[:4]) == b"abc\0"


def test_a_second_opener_in_this_process_is_refused_too(survivor):
    survivor()
    with pytest.raises(StoreBusy):
        survivor()


@pytest.mark.parametrize("reset", [{"reset": True}, {"capacity": CAPACITY + 1}])
def test_a_reset_is_empty_and_another_incarnation(survivor, reset):
    first = survivor()
    first.write(2, block(b"secret"))
    first.close()
    second = survivor(**reset)
    assert second.opening.state == "reset"
    assert "reset was asked for" in second.opening.why or "capacity was 6 and is 7" in second.opening.why
    assert second.opening.incarnation != first.opening.incarnation
    second.read(2, read := block(b"x"))
    assert not any(read)


def test_nobody_else_may_read_it(survivor, path):
    path.parent.mkdir()
    path.touch(mode=0o666)
    path.chmod(0o666)
    survivor()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path_of(path).stat().st_mode & 0o777 == 0o600


def test_another_namespace_is_refused_and_nothing_is_lost(survivor):
    first = survivor()
    first.write(0, block(b"kept"))
    first.close()
    with pytest.raises(NamespaceMismatch, match="namespace is 'm=1' here and 'm=2' there"):
        survivor(namespace="m=2")
    smaller = Layout(groups=(msgspec.structs.replace(TINY.groups[0], heads=1), *TINY.groups[1:]))
    with pytest.raises(NamespaceMismatch, match=r"groups\[0\].heads is 2 here and 1 there"):
        survivor(layout=smaller)
    again = survivor()
    assert again.opening.state == "kept"
    again.read(0, read := block())
    assert bytes(read[:4]) == b"kept"


@pytest.mark.parametrize(
    ("field", "here", "there", "part"),
    [("tp_rank", 0, 1, Slice(tp=2, tp_rank=1)), ("tp", 2, 4, Slice(tp=4)), ("tp", 2, 1, Slice())],
)
def test_another_ranks_file_is_refused_and_nothing_is_lost(survivor, field, here, there, part):
    mine = TINY.slice(Slice(tp=2))
    survivor(layout=mine).close()
    with pytest.raises(NamespaceMismatch, match=f"{field} is {here} here and {there} there"):
        survivor(layout=TINY.slice(part))
    assert survivor(layout=mine).opening.state == "kept"


def test_a_file_from_before_there_were_slices_is_of_whole_blocks(survivor, path):
    survivor().close()
    said = msgspec.json.decode(path_of(path).read_bytes())
    del said["layout"]["part"]
    path_of(path).write_bytes(msgspec.json.encode(said))
    with pytest.raises(NamespaceMismatch, match="tp is 1 here and 2 there"):
        survivor(layout=TINY.slice(Slice(tp=2)))
    assert survivor().opening.state == "kept"


def test_a_cut_file_is_named(survivor, path):
    survivor().close()
    os.truncate(path, TINY.slot_bytes)
    with pytest.raises(StoreDamaged, match=f"has {TINY.slot_bytes} of {CAPACITY * TINY.slot_bytes} bytes"):
        survivor()
    assert survivor(reset=True).opening.state == "reset"


def test_a_missing_file_is_named(survivor, path):
    survivor().close()
    path.unlink()
    with pytest.raises(StoreDamaged, match="is missing"):
        survivor()
    assert not path.exists()
    assert survivor(reset=True).opening.state == "reset"


def test_without_its_sidecar_nothing_is_trusted(survivor, path):
    first = survivor()
    first.write(0, block(b"whose?"))
    first.close()
    path_of(path).unlink()
    second = survivor()
    assert (second.opening.state, second.opening.why) == (
        "reset",
        "nothing tells what is in it: its sidecar is missing",
    )
    second.read(0, read := block())
    assert not any(read)


@pytest.mark.parametrize(("written", "named"), [(b"{", "cannot be read"), (b'{"format": 2}', "has format 2")])
def test_a_sidecar_that_cannot_be_read_is_named(survivor, path, written, named):
    survivor().close()
    path_of(path).write_bytes(written)
    with pytest.raises(StoreDamaged, match=named):
        survivor()


def test_a_crash_while_it_was_made_leaves_what_nobody_trusts(survivor, monkeypatch):
    first = survivor()
    first.write(0, block(b"old"))
    first.close()
    with monkeypatch.context() as patch:
        patch.setattr("kvbm_tiers.survivor.sidecar.save", lambda *_: 1 / 0)  # it dies before the end
        with pytest.raises(ZeroDivisionError):
            survivor(reset=True)
    assert survivor().opening.state == "reset"


def test_the_sidecar_says_what_is_in_it(survivor, path):
    store = survivor()
    said = msgspec.json.decode(path_of(path).read_bytes(), type=Sidecar)
    assert (said.namespace, said.layout, said.capacity) == ("m=1", TINY, CAPACITY)
    assert (said.block_bytes, said.slot_bytes) == (TINY.block_bytes, TINY.slot_bytes)
    assert said.incarnation == store.opening.incarnation
    assert path.stat().st_size == said.size


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="there is no shared memory here")
def test_an_arena_lies_in_shared_memory(instance):
    path = SHARED_MEMORY / f"kvbm-{instance}" / "rank0"
    arena = HostArena(path, namespace="m=1", layout=TINY, capacity=CAPACITY)
    arena.close()
    assert path.stat().st_size == CAPACITY * TINY.slot_bytes
    path.unlink()
    path_of(path).unlink()
    path.parent.rmdir()


def test_a_full_file_system_is_known_when_it_is_made(survivor, small_disk):
    with pytest.raises(StoreFull, match="bytes are free there"):
        survivor(path=small_disk / "rank0", capacity=1 << 16)
    assert list(small_disk.iterdir()) == []
    assert survivor(path=small_disk / "rank0").opening.state == "reset"


def test_a_slab_passes_the_page_cache_or_says_that_it_does_not(path, monkeypatch):
    real = disk_slab.fcntl.fcntl

    def refuse(fd, command, *more):
        if command == disk_slab.fcntl.F_SETFL:
            raise OSError(disk_slab.errno.EINVAL, "no O_DIRECT")
        return real(fd, command, *more)

    with monkeypatch.context() as patch, structlog.testing.capture_logs() as logs:
        patch.setattr(disk_slab.fcntl, "fcntl", refuse)
        slab = DiskSlab(path, namespace="m=1", layout=TINY, capacity=CAPACITY)
    assert not slab.is_direct
    assert [line["log_level"] for line in logs] == ["warning"]
    slab.write(0, block(b"all the same"))
    slab.close()


def test_a_cut_slab_reads_short_and_a_deleted_one_does_not_sync(path):
    slab = DiskSlab(path, namespace="m=1", layout=TINY, capacity=CAPACITY)
    os.truncate(path, TINY.slot_bytes)
    slab.read(0, block())
    with pytest.raises(EOFError, match=f"0 of {TINY.slot_bytes} bytes"):
        slab.read(1, block())
    path.unlink()
    slab.write(0, block())
    with pytest.raises(OSError, match="the slab was deleted"):
        slab.sync()
    slab.close()
