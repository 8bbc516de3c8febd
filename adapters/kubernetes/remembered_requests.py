"""What pods hold, read once for all pods that share containers and their statuses, as decoding lets them."""

from typing import Any

from adapters.kubernetes.amounts import held_requests, resize_is_infeasible
from adapters.kubernetes.objects import Document
from solver.domain.resources import Resources

#: Fields of a spec, and of a status, that count beside the containers; few pods have any of them.
_FURTHER = ("initContainers", "resources", "overhead")
_FURTHER_STATUS = ("initContainerStatuses", "resources", "allocatedResources")
_MOST_KNOWN = 10_000


class RememberedRequests:
    """`held_requests` of bodies that never change, remembered by the lists of containers and of their statuses."""

    def __init__(self) -> None:
        #: By ids, with the lists so that no others get these: what is held, and what if a resize is infeasible.
        self._known: dict[tuple[int, int], tuple[Any, Any, Resources, Resources]] = {}

    def __call__(self, pod: Document) -> Resources:
        """What a pod holds; raises InvalidRequest as `held_requests` does."""
        spec, status = pod.mapping("spec"), pod.mapping("status")
        if any(map(spec.get, _FURTHER)) or any(map(status.get, _FURTHER_STATUS)):
            return held_requests(pod)
        containers, statuses = spec.get("containers"), status.get("containerStatuses")
        key = id(containers), id(statuses)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            both = held_requests(pod, False), held_requests(pod, True)
            known = self._known[key] = containers, statuses, *both
        _, _, held, if_infeasible = known
        if held is if_infeasible or held == if_infeasible:
            return held
        return if_infeasible if resize_is_infeasible(pod) else held
