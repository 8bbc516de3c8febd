"""Warm tables for several threads."""

import pytest

from solver.workers.warm import WarmPool


def test_tables_are_lent_to_one_at_a_time() -> None:
    """The ones used last come first; as many are kept as can be lent; after a fault they are dropped."""
    pool = WarmPool(2, 2**20)
    with pool.lent("a") as first, pool.lent("a") as second:
        assert first is not second
    with pool.lent("a") as again:
        assert again is first
    with pool.lent("") as none:
        assert none is None
    with pytest.raises(RuntimeError), pool.lent("a") as broken:
        raise RuntimeError
    with pool.lent("b"), pool.lent("c"):
        pass
    with pool.lent("a") as fresh:
        assert fresh not in (first, second, broken)
