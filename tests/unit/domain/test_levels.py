"""Level words of a topology, the reserved one of preferred packs among them."""

import pytest

from solver.domain.errors import InvalidRequest
from solver.domain.levels import Level, TopologySpec, discovered_topology


def _spec(*levels: Level) -> TopologySpec:
    return TopologySpec("t", levels)


@pytest.mark.parametrize(
    ("spec", "position"),
    [
        (_spec(Level("zone", "z"), Level("nvl", "n"), Level("rack", "r")), 2),
        (_spec(Level("domain", "d", also=("nvl",)), Level("rack", "r")), 1),
        (_spec(Level("clique", "nvidia.com/gpu.clique"), Level("rack", "r")), 1),
        (discovered_topology(["topology.kubernetes.io/zone", "network.topology.nvidia.com/accelerator"]), 2),
        (_spec(Level("zone", "z"), Level("rack", "r")), 2),
        (_spec(Level("zone", "z")), 1),
        (_spec(), 0),
    ],
)
def test_narrowest_is_nvl_or_the_finest_above_the_host(spec: TopologySpec, position: int) -> None:
    """The level nvl by name, alias or well-known label, else the last before the host, else no preference."""
    assert spec.find_preferred("narrowest") == position


def test_other_preferred_words_are_level_words() -> None:
    """A name, label or alias finds its level, and what no level answers to is unknown."""
    spec = _spec(Level("zone", "z", also=("area",)), Level("rack", "r"))
    assert [spec.find_preferred(word) for word in ("zone", "z", "area", "rack", "host", "row")] == [1, 1, 1, 2, 3, None]


@pytest.mark.parametrize(
    "level", [Level("narrowest", "n"), Level("n", "narrowest"), Level("rack", "r", also=("narrowest",))]
)
def test_no_level_is_called_by_the_reserved_word(level: Level) -> None:
    """Neither name nor label nor alias of a level may be the word of preferred packs."""
    with pytest.raises(InvalidRequest, match="Topology t: 'narrowest' is no name for a level"):
        _spec(level)


def test_as_a_level_it_is_unknown() -> None:
    """Where a rule needs a level the word finds none."""
    assert _spec(Level("nvl", "n")).find("narrowest") is None
