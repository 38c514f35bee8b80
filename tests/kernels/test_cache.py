"""What a later process may run of what an earlier one compiled."""

import os
import stat

import pytest
import structlog.testing

from kvbm_kernels.cache import Cache, default_folder, key_of


class Maker:
    """Counts how often something had to be made."""

    def __init__(self, data=b"made"):
        self.data, self.times = data, 0

    def __call__(self):
        self.times += 1
        return self.data


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "a" / "kernels"


def test_an_entry_is_made_once(folder):
    make = Maker()
    paths = {Cache(folder).path("k", "bin", make) for _ in range(3)}
    assert make.times == 1
    assert {path.read_bytes() for path in paths} == {b"made"}


@pytest.mark.parametrize("damage", [b"mad", b"other", b""])
def test_an_entry_that_was_changed_is_made_again(folder, damage):
    make = Maker()
    path = Cache(folder).path("k", "bin", make)
    path.write_bytes(damage)
    with structlog.testing.capture_logs() as logs:
        assert Cache(folder).path("k", "bin", make).read_bytes() == b"made"
    assert make.times == 2
    assert "damaged" in logs[0]["event"]


def test_what_fails_while_it_is_made_leaves_nothing(folder):
    def fail():
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the maker's own
        Cache(folder).path("k", "bin", fail)
    assert not list(folder.iterdir())


def test_those_used_longest_ago_go_first(folder):
    cache = Cache(folder, entries_max=3)
    for number in range(3):
        path = cache.path(f"k{number}", "bin", Maker())
        os.utime(path, ns=(number, number))
    cache.path("k0", "bin", Maker())  # used again
    cache.path("k3", "bin", Maker())
    assert sorted(path.name.partition(".")[0] for path in folder.iterdir()) == ["k0", "k2", "k3"]


def test_a_folder_is_the_users_alone(folder):
    Cache(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_others_can_write_to_is_not_used(folder):
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    planted = folder / Cache(folder.parent / "fair").path("k", "bin", Maker(b"planted")).name
    planted.write_bytes(b"planted")
    with structlog.testing.capture_logs() as logs:
        cache = Cache(folder)
    assert cache.path("k", "bin", Maker()).read_bytes() == b"made"
    assert cache.folder != folder
    assert logs[0]["why"] == "others can write to it"


def test_a_folder_that_cannot_be_made_is_stood_in_for(tmp_path):
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "kernels")
    assert cache.path("k", "bin", Maker()).read_bytes() == b"made"


def test_keys_differ_by_part_and_by_where_one_ends():
    assert len({key_of(b"ab", "c"), key_of(b"a", "bc"), key_of(b"ab", "d"), key_of(b"ab")}) == 4


def test_the_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("KVBM_KERNEL_CACHE", str(tmp_path / "x"))
    assert default_folder() == tmp_path / "x"
    monkeypatch.delenv("KVBM_KERNEL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "kvbm-nats" / "kernels"
