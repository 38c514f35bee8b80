"""What objects are called: ranks of one block side by side, and blocks that cannot be read as each other's apart."""

from kvbm_tiers import Slice, preset
from kvbm_tiers.objects.names import BlockName, Names

KEY = "0123456789abcdef" * 2
TINY = preset("tiny")


def names(layout=TINY, namespace="m=1", instance="i"):
    return Names.of("p", namespace, layout, instance)


def test_the_ranks_of_a_block_differ_in_nothing_but_their_slice():
    one, other = (names(TINY.slice(Slice.of_rank(rank, 2))) for rank in range(2))
    assert one.fingerprint == other.fingerprint
    assert one.of_block(KEY) == f"p/{one.fingerprint}/0of2/{KEY}/i"
    assert other.of_block(KEY) == f"p/{one.fingerprint}/1of2/{KEY}/i"
    assert one.parse(other.of_block(KEY)) is None
    assert one.parse(one.of_block(KEY)) == BlockName(KEY, "i")


def test_what_cannot_be_read_as_each_others_has_another_fingerprint():
    latent = preset("deepseek-v3")
    found = [
        names(),
        names(namespace="m=2"),
        names(TINY.slice(Slice(tp=2))),
        names(latent),
        names(latent.slice(Slice(tp=8))),
        names(preset("gpt-oss-20b").slice(Slice(tp=2))),
        names(preset("gpt-oss-20b").slice(Slice(pp=2))),
    ]
    assert len({each.fingerprint for each in found}) == len(found)
    assert names(instance="j").fingerprint == found[0].fingerprint
