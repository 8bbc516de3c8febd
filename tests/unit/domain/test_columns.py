"""Columns that are shared between snapshots, joined, and kept free of what nobody uses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver.domain.columns import compacted, sharing
from solver.domain.resources import MAX_AMOUNT
from solver.domain.snapshot import Column, exact_sum
from support.builders import bound, cluster, node

VALUES = st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=3, max_size=3)


@settings(deadline=None)
@given(VALUES, VALUES)
def test_labels_are_shared_exactly_when_they_say_the_same(one: list[str | None], other: list[str | None]) -> None:
    """Whatever the numbering of values; everything but names and labels is the later snapshot's."""
    earlier = cluster(*(node(f"n{at}", rack=value) for at, value in enumerate(one)), levels=[])
    later = cluster(
        *(node(f"n{at}", gpus=4, rack=value) for at, value in reversed(list(enumerate(other)))),
        pods=[bound("p", "n0", 1)],
        levels=[],
    )
    shared = sharing(later, earlier)
    assert (shared.labels is earlier.labels) == (one == other)
    assert (shared.nodes is earlier.nodes) == (one == other)
    assert (shared.free is later.free, shared.pods is later.pods) == (True, True)


def test_other_nodes_share_nothing() -> None:
    """Equal labels of nodes with other names stay apart, and so do further labels."""
    earlier = cluster(node("a", rack="r", **{"kubernetes.io/hostname": "h"}))
    for later in (
        cluster(node("b", rack="r", **{"kubernetes.io/hostname": "h"})),
        cluster(node("a", rack="r", nvl="n", **{"kubernetes.io/hostname": "h"})),
        cluster(node("a", **{"kubernetes.io/hostname": "h"})),
    ):
        assert sharing(later, earlier) is later


def test_the_same_numbers_may_mean_other_values() -> None:
    """Columns are compared by value."""
    assert sharing(cluster(node("a", rack="r")), cluster(node("a", rack="s"))).labels["rack"].values == ("r",)


@pytest.mark.parametrize(
    ("codes", "values", "kept"),
    [
        ([0, 1], "ab", [0, 1]),
        ([2, -1], "abc", [0, -1]),
        ([2, 0], "abc", [1, 0]),
        ([-1, -1], "ab", None),
        ([-1], "", None),
        ([], "a", None),
    ],
)
def test_columns_lose_values_that_no_node_has(codes: list[int], values: str, kept: list[int] | None) -> None:
    """The order of the others stays; a column without values is none."""
    found = compacted(Column(np.array(codes, dtype=np.int32), tuple(values)))
    if kept is None:
        assert found is None
        return
    assert found is not None
    assert found.codes.tolist() == kept
    before = [values[code] if code >= 0 else None for code in codes]
    assert [found.values[code] if code >= 0 else None for code in kept] == before


@given(st.lists(st.integers(-(2**61), 2**61)))
def test_sums_of_many_nodes_are_exact(amounts: list[int]) -> None:
    """Whether or not they fit into 64 bits."""
    assert exact_sum(np.array(amounts, dtype=np.int64)) == sum(amounts)


def test_a_site_of_the_largest_amounts_is_counted() -> None:
    """All devices of 2,200 nodes, each with as many as can be."""
    count = 2200
    site = cluster(*(node(f"n{at}", MAX_AMOUNT // 1000) for at in range(count)))
    assert site.gpu_capacity == count * (MAX_AMOUNT // 1000)
