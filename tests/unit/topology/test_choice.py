"""Which levels a gang is planned with where nobody declares a topology."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.plan import Status
from solver.domain.snapshot import Snapshot, build_snapshot
from solver.planner import plan
from solver.topology.choice import choose_topology, cluster_topology, joint_words
from support.builders import gang, group, node, reach, role, topology

ZONE, RACK, BLOCK = (f"topology.kubernetes.io/{name}" for name in ("zone", "rack", "block"))
NVL, CLIQUE = "network.topology.nvidia.com/accelerator", "nvidia.com/gpu.clique"
OTHER_BLOCK = "network.topology.nvidia.com/block"
ROW, AISLE = "example.com/row", "example.com/aisle"


def nodes(**columns: str) -> Snapshot:
    """Nodes by the values of their labels, one letter each; `-` is no label. Keys by the names above in lower case."""
    known = {"zone": ZONE, "rack": RACK, "block": BLOCK, "other_block": OTHER_BLOCK, "nvl": NVL, "clique": CLIQUE}
    keys = {name: known.get(name, f"example.com/{name}") for name in columns}
    count = len(next(iter(columns.values())))
    return build_snapshot(
        replace(
            node(f"n{at}", 4),
            labels={keys[name]: values[at] for name, values in columns.items() if values[at] != "-"},
        )
        for at in range(count)
    )


def levels(snapshot: Snapshot, *words: str, waiting: Gang | None = None) -> list[str]:
    """Names of the levels of a gang that prefers some."""
    parts = [group(f"g{at}", role(f"w{at}"), preferred=word) for at, word in enumerate(words)] or [role("w")]
    spec, _ = choose_topology(snapshot, waiting or gang(*parts))
    return [level.name for level in spec.levels]


def also(snapshot: Snapshot, *words: str) -> Mapping[str, tuple[str, ...]]:
    """Level → what else it answers to, where it does."""
    spec, _ = choose_topology(snapshot, gang(*(group(word, role(f"r-{word}"), required=word) for word in words)))
    return {level.name: level.also for level in spec.levels if level.also}


def test_a_label_that_is_named_is_a_level_where_it_nests() -> None:
    """Above what lies inside its domains, below what they lie in; without being named it is none."""
    site = nodes(zone="aaaabb", row="xxyyzz", rack="pqrstu")
    assert levels(site) == ["zone", "rack", "host"]
    assert levels(site, ROW) == ["zone", ROW, "rack", "host"]
    assert levels(nodes(row="xxxxyy", zone="aabbcc"), ROW) == [ROW, "zone", "host"]
    assert levels(nodes(rack="aabbcc", row="xyzuvv"), ROW) == ["rack", ROW, "host"]


def test_two_that_are_named_nest_in_each_other() -> None:
    """Whichever is named first."""
    site = nodes(zone="aaaa", aisle="xxxy", row="pqqr")
    assert levels(site, ROW, AISLE) == levels(site, AISLE, ROW) == ["zone", AISLE, ROW, "host"]


@pytest.mark.parametrize("where", ["required", "preferred", "spread", "role spread", "reach"])
def test_every_rule_names_levels(where: str) -> None:
    """Packs, spreads of groups and of roles, and reach."""
    site = nodes(row="xxyy")
    by_rule = {
        "required": gang(role("w"), required=ROW),
        "preferred": gang(role("w"), preferred=ROW),
        "spread": gang(group("g", role("w"), replicas=2, required=ROW, spread=[(ROW, 1)])),
        "role spread": gang(role("w", 2, spread=[(ROW, 1)])),
        "reach": gang(role("a"), role("b"), reach=[reach("a", "b", ROW)]),
    }
    assert levels(site, waiting=by_rule[where]) == [ROW, "host"]
    assert plan(site, [by_rule[where]]).status is Status.OPTIMAL


def test_equal_domains_are_one_level() -> None:
    """A level answers to every label with the same domains; the host to labels by which every node is alone."""
    site = nodes(rack="aabb", row="xxyy", serial="1234")
    assert levels(site, ROW, "example.com/serial") == ["rack", "host"]
    assert also(site, ROW, "example.com/serial") == {"rack": (ROW,), "host": ("example.com/serial",)}
    assert levels(nodes(rack="aabb", row="xxy-"), ROW) == ["rack", ROW, "host"]


def test_two_labels_of_one_name() -> None:
    """Both are levels where their domains differ, the first by its name and the other by its label; else one level."""
    assert levels(nodes(nvl="aaaa", clique="xxyz")) == ["nvl", CLIQUE, "host"]
    assert levels(nodes(nvl="aabb", clique="xxyy")) == ["nvl", "host"]
    assert also(nodes(nvl="aabb", clique="xxyy"), CLIQUE) == {"nvl": (CLIQUE,)}
    assert levels(nodes(block="aabb", other_block="xxxx")) == [OTHER_BLOCK, "block", "host"]
    assert levels(nodes(block="aabb", other_block="xyxy")) == ["block", "host"]


def test_named_levels_outrank_what_only_costs_use() -> None:
    """A well-known level that does not nest with a label that is named goes, and a notice says so."""
    site = nodes(zone="aaaa", rack="aabb", row="xyyx")
    spec, (notice,) = choose_topology(site, gang(role("w"), required=ROW))
    assert [level.name for level in spec.levels] == ["zone", ROW, "host"]
    assert (notice.code, notice.object, notice.field) == ("level_left_out", "default/llama", "topology")
    assert notice.message == f"level rack ({RACK}) does not nest with {ROW}, which is named, and counts for nothing"
    (answer,) = plan(site, [gang(role("w", 2, gpus=4), required=ROW)]).gangs
    assert answer.warnings == (notice,)
    assert {item.node for item in answer.assignments} in ({"n0", "n3"}, {"n1", "n2"})


def test_named_levels_that_do_not_nest_are_refused() -> None:
    """Both are told, as the gang calls them; a tree cannot hold them."""
    site = nodes(rack="aabb", row="xyyx", clique="ppqq")
    for word in ("rack", RACK, CLIQUE):
        waiting = gang(group("g", role("w"), required=word), group("h", role("x"), required=ROW))
        with pytest.raises(InvalidRequest) as caught:
            plan(site, [waiting])
        message = f"levels {word} and {ROW} do not nest in each other: no topology can hold both"
        assert str(caught.value) == f"gang default/llama: {message}"


def test_a_word_that_is_no_label_is_unknown() -> None:
    """As before."""
    with pytest.raises(InvalidRequest, match=f"level '{ROW}' is unknown; the topology has rack, host"):
        plan(nodes(rack="ab"), [gang(role("w"), required=ROW)])


def test_declared_topologies_are_as_declared() -> None:
    """A label that is no level of them stays unknown."""
    site = replace(nodes(rack="ab", row="xy"), topologies={"t": replace(topology("rack", name="t"))})
    with pytest.raises(InvalidRequest, match=f"level '{ROW}' is unknown"):
        plan(site, [gang(role("w"), required=ROW)])


def test_nodes_without_the_label_are_left_out_alone() -> None:
    """They hold no pod of the rule; a coarser label that no rule names may be missing, and other pods go anywhere."""
    site = nodes(nvl="aaaabbbb", clique="xxx-yyyy")
    packed = gang(role("w", 4, gpus=4), required=CLIQUE)
    (answer,) = plan(site, [packed]).gangs
    assert {item.node for item in answer.assignments} == {"n4", "n5", "n6", "n7"}
    site = nodes(zone="--bb", row="xxyz")
    (answer,) = plan(site, [gang(role("w", 2, gpus=4), required=ROW)]).gangs
    assert {item.node for item in answer.assignments} == {"n0", "n1"}
    apart = gang(role("w", 4, spread=[("kubernetes.io/hostname", 1)]))
    assert plan(nodes(zone="aab-", clique="x---"), [apart]).status is Status.OPTIMAL


def test_clouds() -> None:
    """Labels of AWS and Google are levels by themselves, those of AWS by the number of their layer."""
    aws = {f"topology.k8s.aws/network-node-layer-{at}": value for at, value in ((1, "a"), (2, "b"), (3, "c"))}
    google = {f"cloud.google.com/gce-topology-{name}": "x" for name in ("block", "subblock", "host")}
    for labels, names in ((aws, ["layer-1", "layer-2", "layer-3"]), (google, ["block", "subblock"])):
        site = build_snapshot([replace(node("n0", 4), labels=labels)])
        assert [level.name for level in cluster_topology(site).levels] == [*names, "host"]


def test_levels_of_gangs_planned_together() -> None:
    """Each has what any of them names where one topology holds it all; else none has more, and a notice says why."""
    site = nodes(zone="aaaa", row="xxyy", aisle="pqqp")
    by_row, by_zone = gang(role("w"), required=ROW), gang(role("w"), name="default/b", required="zone")
    assert joint_words(site, [by_row, by_zone]) == ((ROW, "zone"), None)
    assert [level.name for level in choose_topology(site, by_zone, (ROW,))[0].levels] == ["zone", ROW, "host"]
    words, notice = joint_words(site, [by_row, gang(role("w"), name="default/b", required=AISLE)])
    assert words == ()
    assert notice is not None
    assert (notice.code, notice.object) == ("not_joint", "default/llama, default/b")
    assert ROW in notice.message
    assert AISLE in notice.message
