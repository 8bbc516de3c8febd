"""What pods that are no gang's find: nodes whose room is promised to others, and where they leave large holes whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from adapters.apply.door import Term
from adapters.kubernetes.constraints import node_constraints
from adapters.kubernetes.objects import Document
from adapters.kubernetes.running import read_bound_pod
from adapters.kubernetes.shares import read_share
from solver.domain.errors import InvalidRequest
from solver.domain.pods import BoundPod
from solver.domain.resources import Resources
from solver.domain.snapshot import Snapshot
from solver.ledger import Phase, Promise, PromisedPod
from solver.service.fitting import TreeOf
from solver.topology.choice import cluster_topology
from solver.verify.eligibility import node_objections

Body = Mapping[str, Any]

#: Best score a node can get.
BEST = 10
#: Kinds of pods whose refusals are kept for one state.
_MOST_KINDS = 1000


def read_pod(pod: Body, node: str = "") -> BoundPod | None:
    """What a pod takes of a node; None when nobody can tell, as of one that shares a GPU."""
    doc = Document(dict(pod), "scheduler")
    try:
        found = read_bound_pod(doc, node)
        return found if read_share(doc, found.requests) is None else None
    except InvalidRequest:
        return None


@dataclass
class _State:
    """One version of the cluster. owner_of: node → a gang that room of it is promised to. refused: by requests."""

    snapshot: Snapshot
    owner_of: Mapping[str, str]
    refused: dict[Resources, dict[str, str]] = field(default_factory=dict)
    scores: dict[str, int] | None = None


class Room:
    """Room of one cluster, as promises leave it. In one event loop."""

    def __init__(self, term: Term) -> None:
        self._term, self._held = term, term.mirror.held
        self._tree_of, self._revisions = TreeOf(), count(1)
        self._state: _State | None = None
        self._taken: dict[str, PromisedPod] = {}

    def refused(self, requests: Resources) -> Mapping[str, str]:
        """Node → why, where a pod would take what is promised to a gang."""
        state = self._now()
        found = state.refused.get(requests)
        if found is None:
            if len(state.refused) >= _MOST_KINDS:
                state.refused.clear()
            found = state.refused[requests] = dict(_short(state, requests))
        return found

    def objection(self, pod: Body, node: str) -> str:
        """Why a pod must not be bound to a node by its own rules; empty when it may, capacity aside."""
        snapshot, doc = self._now().snapshot, Document(dict(pod), "scheduler")
        if node not in snapshot.node_idx:
            return f"node {node} is not known"
        try:
            rules = node_constraints(doc, doc.namespace, doc.labels)
        except InvalidRequest as error:
            return str(error)
        return next(node_objections(snapshot, rules, snapshot.node_idx[node]), "")

    def scores(self) -> Mapping[str, int]:
        """Node → 0 to BEST: high where the node and the domains around it are full already."""
        state = self._now()
        if state.scores is None:
            state.scores = self._scores(state.snapshot)
        return state.scores

    def take(self, pod: BoundPod) -> None:
        """A pod is about to be bound: its node's room is taken from now on, until `give_back`."""
        taken = PromisedPod(pod, "")
        self._taken[pod.uid] = taken
        self._promise(pod.uid, taken, Phase.CONFIRMED)

    def give_back(self, uid: str) -> None:
        """The mirror shows where a pod is bound, or it is not going to be."""
        taken = self._taken.pop(uid, None)
        if taken is not None:
            self._promise(uid, taken, Phase.RELEASED)

    def taken_on(self, uid: str) -> str:
        """The node on which room is taken for this pod, or empty."""
        taken = self._taken.get(uid)
        return taken.holds.node if taken else ""

    def _promise(self, uid: str, pod: PromisedPod, phase: Phase) -> None:
        promise = Promise(f"single/{uid}", self._held.name, "", phase, (pod,), 0, 0, next(self._revisions))
        self._held.promise([promise])

    def _now(self) -> _State:
        snapshot = self._held.view().snapshot
        if self._state is None or self._state.snapshot.version != snapshot.version:
            self._state = _State(snapshot, {pod.node: pod.gang for pod in self._term.reconciler.promised()})
        return self._state

    def _scores(self, snapshot: Snapshot) -> dict[str, int]:
        """Of each node: the mean over the levels of how much of its domain is taken."""
        spec = cluster_topology(snapshot)
        tree = self._tree_of.get(snapshot, spec)
        free, whole = snapshot.whole_free_gpus.astype(np.float64), snapshot.whole_gpus.astype(np.float64)
        shares = []
        for domain_of in tree.domain_of[1:]:
            holes, sizes = np.bincount(domain_of, free), np.bincount(domain_of, whole)
            shares.append((1.0 - holes / np.maximum(sizes, 1.0))[domain_of])
        scores = np.rint(BEST * np.mean(shares, axis=0)).astype(np.int64) if shares else np.zeros(len(free), np.int64)
        return dict(zip(snapshot.nodes, scores.tolist(), strict=True))


def _short(state: _State, requests: Resources) -> Iterable[tuple[str, str]]:
    """Nodes with promises that leave too little for a pod."""
    snapshot = state.snapshot
    nodes = [node for node in state.owner_of if node in snapshot.node_idx]
    asked = [(name, amount) for name, amount in requests if name in snapshot.resources and amount > 0]
    if not nodes or not asked:
        return
    rows = np.array([snapshot.node_idx[node] for node in nodes])
    columns = np.array([snapshot.resources.index(name) for name, _ in asked])
    free = snapshot.free[np.ix_(rows, columns)]
    lacks = free < np.array([amount for _, amount in asked], dtype=np.int64)
    for at in np.flatnonzero(lacks.any(axis=1)).tolist():
        lacking = asked[int(np.argmax(lacks[at]))][0]
        yield nodes[at], f"free {lacking} is promised to gang {state.owner_of[nodes[at]]}"
