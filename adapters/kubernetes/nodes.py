"""`v1` Node → `NodeRecord`."""

from adapters.kubernetes.amounts import node_resources
from adapters.kubernetes.constraints import taint
from adapters.kubernetes.objects import Document
from solver.domain.snapshot import NodeRecord


def read_node(doc: Document) -> NodeRecord:
    """A node with what it can allocate, its labels, taints and condition.

    A node that reports no conditions counts as ready; one that reports some needs `Ready` to be `True`. Raises
    InvalidRequest for malformed fields.
    """
    return NodeRecord(
        name=doc.name,
        allocatable=node_resources(doc),
        labels=doc.labels,
        taints=tuple(taint(entry) for entry in doc.parts("spec.taints")),
        ready=_is_ready(doc),
        schedulable=not doc.flag("spec.unschedulable", False),
    )


def _is_ready(doc: Document) -> bool:
    conditions = doc.parts("status.conditions")
    if not conditions:
        return True
    return any(entry.text("type") == "Ready" and entry.text("status") == "True" for entry in conditions)
