"""What `huddle topology` says about labels, levels and free GPUs."""

import io

from adapters.report.consoles import rendered
from adapters.report.topology_view import print_topology, topology_document
from solver.domain.levels import Level, Tier, TopologySpec
from solver.domain.plan import Notice
from solver.domain.resources import CPU, GPU, Resources
from solver.domain.snapshot import NodeRecord, Snapshot, build_snapshot

ZONE, RACK = "topology.kubernetes.io/zone", "topology.kubernetes.io/rack"


def node(name: str, gpus: int, **labels: str) -> NodeRecord:
    """A node with labels zone and rack where given."""
    keys = {"zone": ZONE, "rack": RACK}
    found = {keys[key]: value for key, value in labels.items()}
    return NodeRecord(name, Resources.of({GPU: gpus * 1000, CPU: 1000}), found)


def test_levels_count_free_gpus_of_open_nodes(snapshot: Snapshot) -> None:
    """Totals, the largest and the smallest domain, and the tier in force."""
    document = topology_document(snapshot, [Notice("c", "o", "f", "m")])
    assert (document["nodes"], document["closed_nodes"]) == (8, 1)
    assert (document["gpus"], document["free_gpus"], document["bound_pods"]) == (32, 26, 1)
    topology = document["topologies"][0]
    assert not topology["declared"]
    rack = topology["levels"][2]
    assert (rack["name"], rack["label"], rack["domains"], rack["gbps"], rack["setup_us"]) == (
        "rack", RACK, 4, 40, 400,
    )  # fmt: skip
    assert rack["free_gpus"] == {"largest": 8, "smallest": 4, "total": 26}
    assert topology["left_out"] == []
    assert topology["broken_nesting"] == []
    assert document["warnings"][0]["code"] == "c"


def test_missing_labels_are_counted_and_named() -> None:
    """A node without a label is listed under the level it lacks."""
    cluster = build_snapshot([node("a", 8, zone="z1", rack="r1"), node("b", 8, zone="z1"), node("c", 8)])
    left_out = topology_document(cluster)["topologies"][0]["left_out"]
    assert left_out == [
        {"level": "zone", "label": ZONE, "nodes": 1, "first": ["c"]},
        {"level": "rack", "label": RACK, "nodes": 2, "first": ["b", "c"]},
    ]


def test_labels_under_two_parents_are_listed() -> None:
    """The same rack value in two zones is two racks, and is said."""
    cluster = build_snapshot([node("a", 8, zone="z1", rack="r1"), node("b", 8, zone="z2", rack="r1")])
    topology = topology_document(cluster)["topologies"][0]
    assert topology["broken_nesting"] == [{"level": "rack", "label": RACK, "value": "r1", "parents": ["z1", "z2"]}]
    assert [entry["path"] for entry in topology["domains"]] == ["z1", "z2", "z1/r1", "z2/r1"]


def test_declared_topologies_win_over_labels() -> None:
    """Tiers of a declared topology are shown as declared."""
    spec = TopologySpec("site", (Level("row", RACK, Tier(12.5, 7)),))
    cluster = build_snapshot([node("a", 8, zone="z1", rack="r1")], topologies=[spec])
    topology = topology_document(cluster)["topologies"][0]
    assert topology["name"] == "site"
    assert topology["declared"]
    assert [level["name"] for level in topology["levels"]] == ["root", "row", "host"]
    assert (topology["levels"][1]["gbps"], topology["levels"][1]["setup_us"]) == (12.5, 7)


def test_the_nics_of_a_node_are_shown_where_they_limit() -> None:
    """Bandwidth of a node by level, with a column of its own in the text only when one is stated."""
    spec = TopologySpec("site", (Level("row", RACK),), node_gbps=25)
    cluster = build_snapshot([node("a", 8, zone="z1", rack="r1")], topologies=[spec])
    document = topology_document(cluster)
    assert [level["node_gbps"] for level in document["topologies"][0]["levels"]] == [25, 25, 25]
    plain = topology_document(build_snapshot([node("a", 8, zone="z1", rack="r1")]))
    for shown, told in ((document, True), (plain, False)):
        text = rendered(io.StringIO(), lambda console, shown=shown: print_topology(console, shown))  # type: ignore[misc]
        assert ("GB/S A NODE" in text) is told


def test_an_empty_cluster_has_a_view() -> None:
    """No nodes, no domains, no failure."""
    document = topology_document(build_snapshot([]))
    assert document["nodes"] == 0
    text = rendered(io.StringIO(), lambda console: print_topology(console, document))
    assert "0 nodes" in text


def test_text_names_what_is_wrong_and_fits(snapshot: Snapshot) -> None:
    """The table form carries the same facts within 80 columns."""
    broken = build_snapshot([node("a", 8, zone="z1", rack="r1"), node("b", 8, zone="z2", rack="r1"), node("c", 4)])
    document = topology_document(broken)
    text = rendered(io.StringIO(), lambda console: print_topology(console, document), 80)
    assert "left out: 1 node without label topology.kubernetes.io/zone (level zone): c" in text
    assert "broken nesting: topology.kubernetes.io/rack=r1 (level rack) is in 2 places: z1, z2" in text
    tidy = rendered(io.StringIO(), lambda console: print_topology(console, topology_document(snapshot)), 80)
    assert max(map(len, tidy.splitlines())) <= 80


def test_devices_of_every_kind_are_free_gpus() -> None:
    """Slices and devices of other makers count beside GPUs, network cards do not."""
    amounts = {GPU: 1000, CPU: 1000, "nvidia.com/mig-1g.10gb": 7, "amd.com/gpu": 2, "rdma/hca": 4}
    document = topology_document(build_snapshot([NodeRecord("a", Resources.of(amounts))]))
    assert (document["gpus"], document["free_gpus"]) == (10, 10)
