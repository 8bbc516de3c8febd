"""What pods ask for, read once for all pods that share their containers, as `slimming.slim` lets them."""

from typing import Any

from adapters.kubernetes.amounts import pod_requests
from adapters.kubernetes.objects import Document
from solver.domain.resources import Resources

#: Fields of a spec that count beside the containers; few pods have any of them.
_FURTHER = ("initContainers", "resources", "overhead")
_MOST_KNOWN = 10_000


class RememberedRequests:
    """`pod_requests` of bodies that never change, remembered by the list of containers itself."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Resources]] = {}  # by id, with the list so that no other one gets its id

    def __call__(self, pod: Document) -> Resources:
        """Requests of a pod; raises InvalidRequest as `pod_requests` does."""
        spec = pod.mapping("spec")
        if any(spec.get(field) for field in _FURTHER):
            return pod_requests(pod)
        containers = spec.get("containers")
        known = self._known.get(id(containers))
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[id(containers)] = containers, pod_requests(pod)
        return known[1]
