"""Keys from tokens."""

from kvbm_nats.keys import chain_keys


def test_equal_prefixes_have_equal_keys_and_nothing_else_has():
    one = chain_keys([1, 2, 3, 4, 5, 6, 7], block_tokens=2, namespace="m")
    other = chain_keys([1, 2, 3, 4, 9, 6, 7], block_tokens=2, namespace="m")
    assert len(one) == 3
    assert [a == b for a, b in zip(one, other, strict=True)] == [True, True, False]
    assert all(len(key) == 32 and int(key, 16) >= 0 for key in one)


def test_a_salt_or_another_namespace_shares_nothing():
    tokens = list(range(8))
    plain = chain_keys(tokens, block_tokens=4, namespace="m")
    assert set(plain).isdisjoint(chain_keys(tokens, block_tokens=4, namespace="m", salt="tenant"))
    assert set(plain).isdisjoint(chain_keys(tokens, block_tokens=4, namespace="n"))


def test_a_block_that_is_not_full_has_no_key():
    assert chain_keys([1, 2, 3], block_tokens=4, namespace="m") == []
