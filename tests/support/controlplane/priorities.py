"""Classes of priority that pods and their groups may name."""

from support.controlplane.api import Api, Refused
from support.controlplane.fleet import gpu_pod
from support.controlplane.waiting import eventually

_CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"


def create_priority_class(api: Api, namespace: str, name: str, value: int) -> None:
    """Create it, and wait until admission, which hears of it a little later, lets a pod of `namespace` name it."""
    api.create(_CLASSES, {"metadata": {"name": name}, "value": value})

    def admitted() -> bool:
        pod = gpu_pod("tried", 1, priorityClassName=name)
        try:
            api.create(f"/api/v1/namespaces/{namespace}/pods", pod, dryRun="All")
        except Refused as refused:
            if refused.status == 403:
                return False
            raise
        return True

    eventually(admitted, f"pods may name the priority class {name}")
