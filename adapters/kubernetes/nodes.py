"""`v1` Node → `NodeRecord`."""

from adapters.kubernetes.amounts import node_resources
from adapters.kubernetes.constraints import taint
from adapters.kubernetes.objects import Document
from solver.domain.constraints import UNREACHABLE
from solver.domain.snapshot import NodeRecord


def read_node(doc: Document) -> NodeRecord:
    """A node with what it can allocate, its labels, taints and condition.

    A node that reports no conditions counts as ready; one that reports some needs `Ready` to be `True`. Where that is
    `Unknown` the node has the taint UNREACHABLE, as Kubernetes will add it. Raises InvalidRequest for malformed fields.
    """
    condition = _readiness(doc)
    taints = tuple(taint(entry) for entry in doc.parts("spec.taints"))
    if condition == "Unknown" and UNREACHABLE not in taints:
        taints = (*taints, UNREACHABLE)
    return NodeRecord(
        name=doc.name,
        allocatable=node_resources(doc),
        labels=doc.labels,
        taints=taints,
        ready=condition == "True",
        schedulable=not doc.flag("spec.unschedulable", False),
    )


def _readiness(doc: Document) -> str:
    """Status of the condition `Ready`: True, False or Unknown."""
    conditions = doc.parts("status.conditions")
    if not conditions:
        return "True"
    found = {entry.text("status") for entry in conditions if entry.text("type") == "Ready"}
    return next((status for status in ("True", "Unknown") if status in found), "False")
