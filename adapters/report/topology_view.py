"""A cluster's topology: levels, domains, free GPUs, tiers in force, and labels that are missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from adapters.report.answers import AnswerKind, heading
from adapters.report.numbers import counted, plain, short
from adapters.report.structured import sorted_notices
from adapters.report.tables import plain_table
from solver.domain.levels import HOST_LABEL, TopologySpec
from solver.domain.naming import natural_key
from solver.domain.plan import Notice
from solver.domain.snapshot import Ints, Snapshot
from solver.topology.choice import cluster_topology
from solver.topology.tree import Tree, build_tree

Document = dict[str, Any]

#: Names listed for nodes that lack a label, labels listed that break nesting, domains listed in the table.
MOST_NAMES = 5
MOST_BREAKS = 20
MOST_DOMAINS = 40


@dataclass(frozen=True)
class _Gpus:
    """Whole devices of every kind per node: what it has, and what is free on open nodes."""

    total: Ints
    free: Ints


def topology_document(snapshot: Snapshot, notices: Sequence[Notice] = ()) -> Document:
    """Every topology of the snapshot as plain dicts; a cluster without one shows what labels tell."""
    specs = [snapshot.topologies[name] for name in sorted(snapshot.topologies, key=natural_key)]
    declared = bool(specs)
    gpus = _Gpus(snapshot.whole_gpus, snapshot.whole_free_gpus)
    return {
        **heading(AnswerKind.TOPOLOGY),
        "nodes": len(snapshot.nodes),
        "closed_nodes": int((~snapshot.open_nodes).sum()),
        "gpus": int(gpus.total.sum()),
        "free_gpus": int(gpus.free.sum()),
        "bound_pods": len(snapshot.pods) - len(snapshot.nominated),
        "topologies": [_topology(snapshot, spec, gpus, declared) for spec in (specs or [cluster_topology(snapshot)])],
        "warnings": [
            {"code": notice.code, "object": notice.object, "field": notice.field, "message": notice.message}
            for notice in sorted_notices(notices)
        ],
    }


def print_topology(console: Console, document: Document) -> None:
    """The document as text."""
    console.print(
        f"{counted(document['nodes'], 'node')} ({document['closed_nodes']} closed), "
        f"{document['free_gpus']} of {document['gpus']} GPUs free, "
        f"{counted(document['bound_pods'], 'bound pod')}",
        soft_wrap=True,
    )
    for topology in document["topologies"]:
        console.print()
        source = "declared" if topology["declared"] else "found from well-known labels"
        console.print(f"topology {topology['name'] or '(unnamed)'}, {source}", soft_wrap=True)
        _print_levels(console, topology["levels"])
        _print_missing(console, topology)
        _print_domains(console, topology["levels"], topology["domains"])


def _topology(snapshot: Snapshot, spec: TopologySpec, gpus: _Gpus, declared: bool) -> Document:
    tree = build_tree(snapshot, spec)
    return {
        "name": spec.name,
        "declared": declared,
        "levels": [_level(tree, level, gpus) for level in range(tree.height + 1)],
        "left_out": [found for level in range(1, tree.height) if (found := _left_out(snapshot, tree, level))],
        "broken_nesting": [entry for level in range(2, tree.height) for entry in _broken(tree, level)]
        + _repeated_hosts(snapshot),
        "domains": [entry for level in range(1, tree.height) for entry in _domains(tree, level, gpus)],
    }


def _level(tree: Tree, level: int, gpus: _Gpus) -> Document:
    """A level's tier in force, its domains, and how many GPUs are free in them."""
    tier = tree.spec.tiers[level]
    free = _sums(tree, level, gpus.free)[tree.real[level]]
    total = _sums(tree, level, gpus.total)[tree.real[level]]
    return {
        "name": tree.level_names[level],
        "label": "" if level == 0 else tree.spec.levels[level - 1].label,
        "domains": len(free),
        "gbps": plain(tier.gbps),
        "setup_us": plain(tier.setup_us),
        "node_gbps": None if tier.node_gbps is None else plain(tier.node_gbps),
        "free_gpus": _spread(free),
        "gpus": _spread(total),
    }


def _sums(tree: Tree, level: int, values: Ints) -> Ints:
    counts = np.bincount(tree.domain_of[level], weights=values, minlength=len(tree.names[level]))
    return counts.astype(np.int64)


def _spread(values: Ints) -> Document:
    if not len(values):
        return {"largest": 0, "smallest": 0, "total": 0}
    return {"largest": int(values.max()), "smallest": int(values.min()), "total": int(values.sum())}


def _left_out(snapshot: Snapshot, tree: Tree, level: int) -> Document | None:
    """Nodes without the level's label: constraints on it, or on a finer level, cannot use them."""
    missing = np.flatnonzero(~tree.real[level][tree.domain_of[level]])
    if not len(missing):
        return None
    names = [snapshot.nodes[node] for node in missing[:MOST_NAMES].tolist()]
    label = tree.spec.levels[level - 1].label
    return {"level": tree.level_names[level], "label": label, "nodes": len(missing), "first": names}


def _broken(tree: Tree, level: int) -> list[Document]:
    """Label values of a level that occur under more than one parent domain."""
    parents: dict[str, list[str]] = {}
    for domain, path in enumerate(tree.names[level]):
        if tree.real[level][domain]:
            above, _, value = path.rpartition("/")
            parents.setdefault(value, []).append(above)
    label = tree.spec.levels[level - 1].label
    return [
        {"level": tree.level_names[level], "label": label, "value": value, "parents": parents[value]}
        for value in sorted(parents, key=natural_key)
        if len(parents[value]) > 1
    ]


def _repeated_hosts(snapshot: Snapshot) -> list[Document]:
    """Hostname labels that several nodes carry."""
    column = snapshot.labels.get(HOST_LABEL)
    if column is None:
        return []
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.values))
    return [
        {
            "level": "host",
            "label": HOST_LABEL,
            "value": column.values[code],
            "parents": [snapshot.nodes[node] for node in np.flatnonzero(column.codes == code).tolist()],
        }
        for code in np.flatnonzero(counts > 1).tolist()
    ]


def _domains(tree: Tree, level: int, gpus: _Gpus) -> list[Document]:
    free, total = _sums(tree, level, gpus.free), _sums(tree, level, gpus.total)
    nodes = _sums(tree, level, np.ones(len(gpus.free), dtype=np.int64))
    return [
        {
            "level": tree.level_names[level],
            "path": tree.names[level][domain],
            "nodes": int(nodes[domain]),
            "free_gpus": int(free[domain]),
            "gpus": int(total[domain]),
        }
        for domain in range(len(free))
        if tree.real[level][domain]
    ]


def _print_levels(console: Console, levels: Sequence[Document]) -> None:
    shared = any(level["node_gbps"] is not None for level in levels)
    headers = ("DOMAINS", "FREE GPUS", "MOST", "LEAST", "GB/S", *(["GB/S A NODE"] if shared else []), "SETUP")
    table = plain_table("LEVEL", numbers=headers)
    table.add_column("LABEL", overflow="fold")
    for level in levels:
        free = level["free_gpus"]
        table.add_row(
            level["name"],
            str(level["domains"]),
            f"{free['total']}/{level['gpus']['total']}",
            str(free["largest"]),
            str(free["smallest"]),
            short(level["gbps"]),
            *([_node_gbps(level)] if shared else []),
            f"{short(level['setup_us'])}us",
            level["label"] or "-",
        )
    console.print(table)


def _node_gbps(level: Document) -> str:
    return "-" if level["node_gbps"] is None else short(level["node_gbps"])


def _print_missing(console: Console, topology: Document) -> None:
    for entry in topology["left_out"]:
        more = entry["nodes"] - len(entry["first"])
        names = ", ".join(entry["first"]) + (f" and {more} more" if more else "")
        console.print(
            f"left out: {counted(entry['nodes'], 'node')} without label {entry['label']} "
            f"(level {entry['level']}): {names}",
            soft_wrap=True,
        )
    broken = topology["broken_nesting"]
    for entry in broken[:MOST_BREAKS]:
        listed = ", ".join(parent or "(no parent)" for parent in entry["parents"][:MOST_NAMES])
        more = len(entry["parents"]) - MOST_NAMES
        listed += f" and {more} more" if more > 0 else ""
        console.print(
            f"broken nesting: {entry['label']}={entry['value']} (level {entry['level']}) "
            f"is in {len(entry['parents'])} places: {listed}",
            soft_wrap=True,
        )
    if len(broken) > MOST_BREAKS:
        console.print(f"broken nesting: {len(broken) - MOST_BREAKS} more labels", soft_wrap=True)


def _print_domains(console: Console, levels: Sequence[Document], domains: Sequence[Document]) -> None:
    """The domains, coarse levels first; a level that would be too long is cut."""
    if not domains:
        return
    console.print()
    table = plain_table("LEVEL", "DOMAIN", numbers=("NODES", "FREE GPUS"))
    for level in levels:
        own = [entry for entry in domains if entry["level"] == level["name"]]
        for entry in own[:MOST_DOMAINS]:
            free = f"{entry['free_gpus']}/{entry['gpus']}"
            table.add_row(entry["level"], entry["path"], str(entry["nodes"]), free)
        rest = own[MOST_DOMAINS:]
        if rest:
            free = f"{sum(entry['free_gpus'] for entry in rest)}/{sum(entry['gpus'] for entry in rest)}"
            nodes = str(sum(entry["nodes"] for entry in rest))
            table.add_row(level["name"], f"... {len(rest)} more", nodes, free)
    console.print(table)
