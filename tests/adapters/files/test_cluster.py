"""Documents to snapshots, and the own Cluster object."""

import json
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from adapters.files.cluster import LoadedCluster, load_cluster
from adapters.kubernetes.objects import Document
from solver.domain.constraints import Taint
from solver.domain.errors import InvalidRequest
from solver.domain.levels import DEFAULT_TIERS, Tier
from solver.domain.snapshot import Snapshot
from solver.topology.tree import build_tree

ZONE, RACK = "topology.kubernetes.io/zone", "topology.kubernetes.io/rack"
TI = 2**40


def doc(kind: str, name: str, api: str = "v1", meta: dict[str, Any] | None = None, **body: Any) -> Document:
    """An object from `in.yaml`."""
    return Document({"apiVersion": api, "kind": kind, "metadata": {"name": name, **(meta or {})}, **body}, "in.yaml")


def cluster(*nodes: dict[str, Any], levels: list[dict[str, Any]] | None = None, name: str = "demo") -> Document:
    """A Cluster object; without levels it has no topology."""
    spec: dict[str, Any] = {"nodes": list(nodes)}
    if levels is not None:
        spec["topology"] = {"levels": levels}
    return doc("Cluster", name, "huddle.scheduler/v1alpha1", spec=spec)


LEVELS = [{"name": "zone", "label": ZONE, "gbps": 10, "setupUs": 600}, {"name": "rack", "label": RACK}]


def load(*documents: Document) -> LoadedCluster:
    """The loaded cluster."""
    return load_cluster(documents)


def row(snapshot: Snapshot, node: str) -> dict[str, int]:
    """What a node offers, without zeros."""
    amounts = snapshot.allocatable[snapshot.node_idx[node]].tolist()
    return {name: amount for name, amount in zip(snapshot.resources, amounts, strict=True) if amount}


def label(snapshot: Snapshot, key: str) -> list[str]:
    """The label's value on every node, `-` where it is missing."""
    column = snapshot.labels.get(key)
    if column is None:
        return ["-"] * len(snapshot.nodes)
    return [column.values[code] if code >= 0 else "-" for code in column.codes.tolist()]


def test_an_entry_becomes_nodes() -> None:
    """Prefix and running number, resources in the solver's units, generous where nothing is said."""
    snapshot = load(cluster({"prefix": "h", "count": 2, "gpus": 8, "cpu": "96", "memory": "2Ti"})).snapshot
    assert snapshot.nodes == ("h0", "h1")
    assert row(snapshot, "h1") == {
        "gpu": 8000,
        "cpu": 96_000,
        "memory": 2 * TI,
        "pods": 110,
        "ephemeral-storage": TI,
    }


def test_defaults_of_a_node() -> None:
    """128 cores, 1 Ti of memory and of ephemeral storage, 110 pods, no GPU."""
    snapshot = load(cluster({"prefix": "h", "count": 1})).snapshot
    assert row(snapshot, "h0") == {"cpu": 128_000, "memory": TI, "pods": 110, "ephemeral-storage": TI}


def test_everything_an_entry_may_say() -> None:
    """Extended resources, storage, pods, labels, taints and GPUs already taken."""
    entry = {
        "prefix": "h",
        "count": 1,
        "gpus": 8,
        "used": 3,
        "ephemeralStorage": "1k",
        "pods": 5,
        "resources": {"rdma/ib": 8},
        "labels": {"gpu": "h100"},
        "taints": [{"key": "a"}, {"key": "b", "value": "c", "effect": "NoExecute"}],
    }
    snapshot = load(cluster(entry)).snapshot
    assert row(snapshot, "h0")["rdma/ib"] == 8
    assert row(snapshot, "h0")["ephemeral-storage"] == 1000
    assert snapshot.whole_free_gpus.tolist() == [5]
    assert label(snapshot, "gpu") == ["h100"]
    assert snapshot.taint_sets == ((Taint("a"), Taint("b", "c", "NoExecute")),)


def test_per_nests_domains() -> None:
    """Two zones of two racks of two nodes."""
    snapshot = load(cluster({"prefix": "h", "count": 2, "per": {"zone": 2, "rack": 2}}, levels=LEVELS)).snapshot
    tree = build_tree(snapshot, snapshot.topologies["demo"])
    assert tree.names[1] == ("zone-0", "zone-1")
    assert tree.names[2] == ("zone-0/rack-0", "zone-0/rack-1", "zone-1/rack-2", "zone-1/rack-3")
    assert tree.domain_of[2].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_entries_share_neither_names_nor_domains() -> None:
    """Numbering of nodes and domains runs on."""
    entry = {"prefix": "h", "count": 2, "per": {"rack": 1}}
    snapshot = load(cluster(entry, entry, {**entry, "prefix": "g"}, levels=LEVELS)).snapshot
    assert snapshot.nodes == ("g0", "g1", "h0", "h1", "h2", "h3")
    assert label(snapshot, RACK) == ["rack-2", "rack-2", "rack-0", "rack-0", "rack-1", "rack-1"]
    assert label(snapshot, ZONE) == ["-"] * 6


def test_per_may_use_a_well_known_level_that_the_topology_leaves_out() -> None:
    """The level joins the topology where it belongs."""
    levels = [{"name": "zone", "label": ZONE, "gbps": 10, "setupUs": 600}]
    entry = {"prefix": "h", "count": 8, "per": {"zone": 4, "rack": 32}, "gpus": 8, "cpu": "128", "memory": "1Ti"}
    snapshot = load(cluster(entry, levels=levels)).snapshot
    tree = build_tree(snapshot, snapshot.topologies["demo"])
    assert tree.level_names == ("root", "zone", "rack", "host")
    assert [len(names) for names in tree.names] == [1, 4, 128, 1024]


def test_labels_may_join_entries_in_one_domain() -> None:
    """A zone given by label, racks by number."""
    entry = {"prefix": "h", "count": 1, "per": {"rack": 2}, "labels": {ZONE: "z"}}
    snapshot = load(cluster(entry, entry, levels=LEVELS)).snapshot
    assert label(snapshot, ZONE) == ["z"] * 4


def test_without_a_topology_well_known_levels_may_be_used() -> None:
    """The labels they write are those from which levels are discovered."""
    snapshot = load(cluster({"prefix": "h", "count": 1, "per": {"rack": 2}})).snapshot
    assert label(snapshot, RACK) == ["rack-0", "rack-1"]
    assert dict(snapshot.topologies) == {}


def test_levels_carry_their_costs() -> None:
    """Given costs first, then the defaults by name; the root may have its own."""
    document = cluster(levels=[*LEVELS, {"name": "host"}])
    document.body["spec"]["topology"]["root"] = {"gbps": 5, "setupUs": 7}
    spec = load(document).snapshot.topologies["demo"]
    assert spec.tiers == (Tier(5, 7), Tier(10, 600), DEFAULT_TIERS["rack"], DEFAULT_TIERS["host"])


def test_nics_of_a_node_and_hand_overs_are_settings() -> None:
    """Of the whole topology, and of a level or the root that states its tier; NVLink's level does without."""
    levels = [
        {"name": "zone", "label": ZONE, "gbps": 10, "setupUs": 600, "nodeGbps": 12.5},
        {"name": "rack", "label": RACK},
        {"name": "nvl"},
    ]
    document = cluster(levels=levels)
    document.body["spec"]["topology"] |= {"nodeGbps": 25, "handoverMs": 170}
    spec = load(document).snapshot.topologies["demo"]
    assert [tier.node_gbps for tier in spec.tiers] == [25, 12.5, 25, None, None]
    assert (spec.node_gbps, spec.handover_ms) == (25, 170)
    document.body["spec"]["topology"]["root"] = {"gbps": 5, "setupUs": 7, "nodeGbps": 3}
    assert load(document).snapshot.topologies["demo"].tiers[0] == Tier(5, 7, 3)


def test_links_are_settings_of_levels() -> None:
    """Uplinks by number or by oversubscription, what others use, and the share that a gang may use."""
    levels = [
        {"name": "zone", "label": ZONE, "uplinkGbps": 400, "usedGbps": 30.5},
        {"name": "rack", "label": RACK, "oversubscription": 2},
        {"name": "host", "usedGbps": 1},
    ]
    document = cluster(levels=levels)
    document.body["spec"]["topology"] |= {"nodeGbps": 25, "maxLinkShare": 0.8}
    spec = load(document).snapshot.topologies["demo"]
    assert spec.max_link_share == 0.8
    found = [(level.uplink_gbps, level.oversubscription, level.used_gbps) for level in spec.levels]
    assert found == [(400, None, 30.5), (None, 2, None), (None, None, 1)]
    assert load(cluster(levels=LEVELS)).snapshot.topologies["demo"].max_link_share == 0.6


def test_a_line_rate_makes_a_tier() -> None:
    """Three quarters of it, with the set-up time and the NICs that the level has by default."""
    document = cluster(levels=[{"name": "zone"}, {"name": "rack", "lineGbps": 50}, {"name": "host", "lineGbps": 100}])
    document.body["spec"]["topology"]["nodeGbps"] = 200
    spec = load(document).snapshot.topologies["demo"]
    assert spec.tiers[1:] == (Tier(10, 600, 200), Tier(37.5, 400, 200), Tier(75, 400, 200))


def test_own_levels_answer_to_their_well_known_name() -> None:
    """A level of another name is still found by what its label means."""
    spec = load(cluster(levels=[{"name": "hall", "label": ZONE}])).snapshot.topologies["demo"]
    assert spec.find("zone") == spec.find("hall") == 1


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ([], "spec: must be a mapping, not a list"),
        ({"node": []}, "spec.node: is not a known field (did you mean nodes?)"),
        ({"nodes": {}}, "spec.nodes: must be a list, not a mapping"),
        ({"nodes": [{"count": 1}]}, "spec.nodes[0].prefix: is missing"),
        ({"nodes": [{"prefix": "h"}]}, "spec.nodes[0].count: is missing"),
        ({"nodes": [{"prefix": "h", "count": "8"}]}, "spec.nodes[0].count: must be a whole number, not '8'"),
        ({"nodes": [{"prefix": "h", "count": True}]}, "spec.nodes[0].count: must be a whole number, not true"),
        ({"nodes": [{"prefix": "h", "count": -1}]}, "spec.nodes[0].count: must be at least 0, not -1"),
        ({"nodes": [{"prefix": "h", "count": 10**9}]}, "spec.nodes[0].count: must be at most 1000000, not 1000000000"),
        ({"nodes": [{"prefix": "A b", "count": 1}]}, "spec.nodes[0].prefix: 'A b' is not allowed here"),
        (
            {"nodes": [{"prefix": "h", "count": 1, "gpu": 8}]},
            "spec.nodes[0].gpu: is not a known field (did you mean gpus?)",
        ),
        ({"nodes": [{"prefix": "h", "count": 1, "gpus": 1.5}]}, "spec.nodes[0].gpus: must be a whole number, not 1.5"),
        (
            {"nodes": [{"prefix": "h", "count": 1, "cpu": []}]},
            "spec.nodes[0].cpu: must be text or a number, not a list",
        ),
        ({"nodes": [{"prefix": "h", "count": 1, "cpu": "x"}]}, "spec.nodes[0].cpu: must be a quantity, not 'x'"),
        ({"nodes": [{"prefix": "h", "count": 1, "memory": "-1"}]}, "spec.nodes[0].memory: '-1' is negative"),
        ({"nodes": [{"prefix": "h", "count": 1, "memory": "9E"}]}, "spec.nodes[0].memory: '9E' is too large"),
        ({"nodes": [{"prefix": "h", "count": 1, "cpu": "9T"}]}, "spec.nodes[0].cpu: '9T' is too large"),
        (
            {"nodes": [{"prefix": "h", "count": 1, "resources": {"rdma": 1}}]},
            "spec.nodes[0].resources: 'rdma' is not allowed here",
        ),
        (
            {"nodes": [{"prefix": "h", "count": 1, "labels": {"a": 1}}]},
            "spec.nodes[0].labels.a: must be text, not 1",
        ),
        (
            {"nodes": [{"prefix": "h", "count": 1, "taints": [{"key": "a", "effect": "x"}]}]},
            "spec.nodes[0].taints[0].effect: must be one of NoSchedule, NoExecute, PreferNoSchedule, not 'x'",
        ),
        (
            {"nodes": [{"prefix": "h", "count": 1, "gpus": 2, "used": 3}]},
            "spec.nodes[0].used: 3 is more than the 2 GPUs of a node",
        ),
        (
            {"nodes": [{"prefix": "h", "count": 1, "labels": {"kubernetes.io/hostname": "x"}}]},
            "spec.nodes[0].labels[kubernetes.io/hostname]: is set by the node's own name",
        ),
        (
            {"nodes": [{"prefix": "h", "count": 11}, {"prefix": "h1", "count": 1}]},
            "spec.nodes[1].prefix: node 'h10' exists already",
        ),
        (
            {"nodes": [{"prefix": "h", "count": 1, "per": {"row": 1}}], "topology": {"levels": LEVELS}},
            "spec.nodes[0].per.row: is not a level of the topology above the host (zone, rack)",
        ),
        (
            {"nodes": [{"prefix": "h", "count": 1, "per": {"rack": 0}}]},
            "spec.nodes[0].per.rack: must be at least 1, not 0",
        ),
        (
            {"nodes": [{"prefix": "h", "count": 10000, "per": {"zone": 4, "rack": 30}}]},
            "spec.nodes[0].count: comes to 1200000 nodes with `per`, more than 1000000",
        ),
        (
            {"nodes": [{"prefix": "h", "count": 8, "per": {"rack": 4}, "labels": {RACK: "r"}}]},
            f"spec.nodes[0].labels[{RACK}]: is set by per.rack as well",
        ),
        ({"topology": {}}, "spec.topology.levels: is missing"),
        ({"topology": {"levels": [{}]}}, "spec.topology.levels[0].name: is missing"),
        (
            {"topology": {"levels": [{"name": "rack", "lineGbps": 50, "gbps": 40, "setupUs": 1}]}},
            "spec.topology.levels[0].lineGbps: is for levels without gbps, which is what was measured",
        ),
        (
            {"topology": {"levels": [{"name": "rack", "nodeGbps": 4}]}},
            "spec.topology.levels[0].gbps: is missing",
        ),
        (
            {"topology": {"levels": [{"name": "rack", "uplinkGbps": 4, "oversubscription": 2}], "nodeGbps": 4}},
            "spec.topology.levels[0]: level 'rack': uplinkGbps and oversubscription exclude each other",
        ),
        (
            {"topology": {"levels": [{"name": "rack", "oversubscription": 2}]}},
            "spec.topology.levels: level 'rack': oversubscription needs nodeGbps of the topology",
        ),
        (
            {"topology": {"levels": [{"name": "rack", "usedGbps": 2}]}},
            "spec.topology.levels: level 'rack': usedGbps needs uplinkGbps or oversubscription",
        ),
        (
            {"topology": {"levels": [{"name": "host", "usedGbps": 2}]}},
            "spec.topology.levels: level 'host': usedGbps needs nodeGbps of the topology",
        ),
        (
            {"topology": {"levels": [{"name": "host", "uplinkGbps": 2}]}},
            "spec.topology.levels: level 'host' has no uplink: the link of a node is nodeGbps of the topology",
        ),
        (
            {"topology": {"levels": [{"name": "nvl"}, {"name": "tray", "label": "t", "uplinkGbps": 2}]}},
            "spec.topology.levels: level 'tray' is inside NVLink",
        ),
        (
            {"topology": {"levels": [], "maxLinkShare": 1.5}},
            "spec.topology.maxLinkShare: must be at most 1, not 1.5",
        ),
        (
            {"topology": {"levels": [], "nodeGbps": 0}},
            "spec.topology.nodeGbps: must be at least 0.001, not 0",
        ),
        (
            {"topology": {"levels": [], "handoverMs": -1}},
            "spec.topology.handoverMs: must be at least 0, not -1",
        ),
        ({"topology": {"levels": [{"name": "row"}]}}, "spec.topology.levels[0].label: is missing"),
        ({"topology": {"levels": [{"name": "root"}]}}, "spec.topology.levels[0].name: 'root' is not allowed here"),
        (
            {"topology": {"levels": [{"name": "rack", "gbps": 4}]}},
            "spec.topology.levels[0].setupUs: is missing",
        ),
        (
            {"topology": {"levels": [{"name": "rack", "gbps": 0, "setupUs": 1}]}},
            "spec.topology.levels[0].gbps: must be at least 0.001, not 0",
        ),
        (
            {"topology": {"levels": [{"name": "rack", "gbps": float("nan"), "setupUs": 1}]}},
            "spec.topology.levels[0].gbps: nan is out of range (0 to 1e+15)",
        ),
        (
            {"topology": {"levels": [{"name": "rack"}, {"name": "rack"}]}},
            "spec.topology.levels: level name 'rack' appears twice",
        ),
        (
            {"topology": {"levels": [{"name": "host"}, {"name": "rack"}]}},
            "spec.topology.levels: level name 'host' appears twice",
        ),
        (
            {"topology": {"levels": [{"name": "host", "label": "x"}]}},
            "spec.topology.levels[0].label: level 'host' and label 'kubernetes.io/hostname' belong together",
        ),
    ],
)
def test_malformed_clusters_are_refused(spec: object, line: str) -> None:
    """One line names the field and what is wrong."""
    with pytest.raises(InvalidRequest) as refused:
        load(doc("Cluster", "demo", "huddle.scheduler/v1alpha1", spec=spec))
    assert str(refused.value) == f"in.yaml: Cluster demo: {line}"


def test_an_unknown_version_is_refused() -> None:
    """A later version may mean something else."""
    with pytest.raises(InvalidRequest) as refused:
        load(doc("Cluster", "demo", "huddle.scheduler/v9", spec={}))
    expected = "in.yaml: Cluster demo: apiVersion: must be 'huddle.scheduler/v1alpha1', not 'huddle.scheduler/v9'"
    assert str(refused.value) == expected


def test_clusters_of_other_projects_are_ignored() -> None:
    """Cluster API has a kind of the same name."""
    assert load(doc("Cluster", "x", "cluster.x-k8s.io/v1beta1", spec=5)).snapshot.nodes == ()


def test_the_published_schema_is_a_schema() -> None:
    """It validates against its own draft."""
    text = files("adapters.files").joinpath("schemas", "cluster.schema.json").read_text(encoding="utf-8")
    Draft202012Validator.check_schema(json.loads(text))


def node(name: str, gpus: int = 8, **meta: Any) -> Document:
    """A `v1` Node."""
    return doc("Node", name, meta=meta, status={"allocatable": {"nvidia.com/gpu": str(gpus), "pods": "110"}})


def pod(name: str, on: str | None, gpus: int = 1, **meta: Any) -> Document:
    """A `v1` Pod."""
    container = {"resources": {"limits": {"nvidia.com/gpu": gpus}}}
    return doc("Pod", name, meta=meta, spec={"nodeName": on, "containers": [container]}, status={"phase": "Running"})


def test_a_whole_cluster() -> None:
    """Nodes, pods, topology and queue make one snapshot; everything else is context."""
    found = load(
        doc("Namespace", "prod"),
        pod("a", "n10", 3, labels={"kai.scheduler/queue": "q"}),
        pod("b", None),
        node("n10"),
        node("n9"),
        doc("Topology", "t", "kai.scheduler/v1alpha1", spec={"levels": [{"nodeLabel": RACK}]}),
        doc("Queue", "q", "scheduling.run.ai/v2", spec={"resources": {"gpu": {"limit": 8}}}),
        doc("PodGroup", "g", "scheduling.run.ai/v2alpha2", spec={"queue": "q"}),
    )
    assert found.snapshot.nodes == ("n9", "n10")
    assert found.snapshot.whole_free_gpus.tolist() == [8, 5]
    assert [pod.queue for pod in found.snapshot.pods] == ["q"]
    assert list(found.snapshot.topologies) == ["t"]
    assert found.snapshot.queues["q"].limits == {"gpu": 8000}
    assert [doc.name for doc in found.pending] == ["b"]
    assert list(found.pod_groups) == ["default/g"]
    assert [doc.kind for doc in found.others] == ["Namespace"]
    assert found.notices == ()


def test_a_cluster_of_nothing_is_a_cluster_without_nodes() -> None:
    """Whether that is a problem is for the plan to say."""
    assert load().snapshot.nodes == ()
    assert load(doc("ConfigMap", "x")).snapshot.whole_free_gpus.tolist() == []


def test_input_order_does_not_matter() -> None:
    """The same objects make the same columns."""
    documents = [node("n1"), node("n2"), pod("a", "n1"), pod("b", "n2", 2), pod("c", "n2")]
    one, other = load(*documents).snapshot, load(*documents[::-1]).snapshot
    assert (one.nodes, one.pods, one.free.tolist()) == (other.nodes, other.pods, other.free.tolist())


def test_objects_in_two_files_count_once() -> None:
    """The same node and pod again take nothing twice."""
    documents = [node("n1", uid="u"), pod("a", "n1", uid="v"), node("n1", uid="u"), pod("a", "n1", uid="v")]
    assert load(*documents).snapshot.whole_free_gpus.tolist() == [7]


def test_a_pod_on_an_unknown_node_is_left_out() -> None:
    """With a notice, because its node may be missing by mistake."""
    found = load(node("n1"), pod("a", "n2"))
    assert len(found.snapshot.pods) == 0
    (notice,) = found.notices
    assert (notice.code, notice.object) == ("node_unknown", "Pod default/a")
    assert notice.message == "node n2 is not in the input; the pod is left out"


def test_real_and_written_nodes_may_be_mixed() -> None:
    """A Cluster object adds nodes to those of a real cluster, under other names."""
    assert load(node("n1"), cluster({"prefix": "h", "count": 1})).snapshot.nodes == ("h0", "n1")
    with pytest.raises(InvalidRequest) as refused:
        load(node("h0"), cluster({"prefix": "h", "count": 1}))
    assert str(refused.value) == "in.yaml: Node h0: metadata.name: a Cluster object has a node of this name as well"


def test_a_topology_may_not_be_declared_twice() -> None:
    """By a Topology object and by a Cluster of the same name."""
    declared = doc("Topology", "demo", "kai.scheduler/v1alpha1", spec={"levels": [{"nodeLabel": RACK}]})
    with pytest.raises(InvalidRequest, match="a Cluster object has a topology of this name as well"):
        load(cluster(levels=LEVELS), declared)


def test_two_clusters_of_one_name_must_agree() -> None:
    """The same file twice is one cluster; another one is a mistake."""
    entry = {"prefix": "h", "count": 2}
    assert len(load(cluster(entry), cluster(entry)).snapshot.nodes) == 2
    with pytest.raises(InvalidRequest, match="another Cluster of this name says something else"):
        load(cluster(entry), cluster())


def test_running_fractions_are_counted() -> None:
    """A GPU that is partly taken is no whole one; whose it is is said."""
    loaded = load(node("n1"), pod("a", "n1", annotations={"gpu-fraction": "0.5"}))
    assert loaded.snapshot.whole_free_gpus.tolist() == [int(loaded.snapshot.gpu_capacity) - 1]
    assert [(notice.code, notice.object) for notice in loaded.notices] == [("gpu_share_counted", "Pod default/a")]


def test_a_cluster_names_further_accelerators() -> None:
    """Names of all Cluster objects, each once; an object without nodes may stand beside Nodes of a real cluster."""
    card = {"prefix": "h", "count": 1, "gpus": 2, "resources": {"example.com/card": 4}}
    first = cluster(card)
    first.body["spec"]["accelerators"] = ["example.com/card"]
    more = doc("Cluster", "more", "huddle.scheduler/v1alpha1", spec={"accelerators": ["x.y/*", "example.com/card"]})
    snapshot = load(first, more).snapshot
    assert snapshot.accelerators.added == ("example.com/card", "x.y/*")
    assert snapshot.whole_free_gpus.tolist() == [6]
    assert load(cluster(card)).snapshot.whole_free_gpus.tolist() == [2]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["card"], "spec.accelerators: 'card' is no name like example.com/device"),
        ([1], "spec.accelerators[0]: "),
        (["a/b"] * 65, "spec.accelerators: "),
    ],
)
def test_wrong_names_of_accelerators_are_refused(names: list[Any], problem: str) -> None:
    """In one line, with the field."""
    wrong = doc("Cluster", "c", "huddle.scheduler/v1alpha1", spec={"accelerators": names})
    with pytest.raises(InvalidRequest) as caught:
        load(wrong)
    assert f"in.yaml: Cluster c: {problem}" in str(caught.value)
