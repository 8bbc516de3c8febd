"""Which pods the extender is asked about."""

from typing import Any

from adapters.apply.naming_node import NO_EXTENDER, Extended

SCHEDULER = "default-scheduler"


def pod(scheduler: str = SCHEDULER, **resources: dict[str, str]) -> dict[str, Any]:
    """A pod of one container."""
    return {"metadata": {}, "spec": {"schedulerName": scheduler, "containers": [{"resources": resources}]}}


def test_pods_with_a_managed_resource_are_asked_about() -> None:
    """As a request or a limit, of a scheduler that asks; GPUs unless told otherwise."""
    usual, amd = Extended({SCHEDULER}), Extended({SCHEDULER}, {"amd.com/gpu", "nvidia.com/gpu"})
    gpus, others = pod(limits={"nvidia.com/gpu": "1"}), pod(requests={"amd.com/gpu": "8"})
    assert [each.holds(body) for each in (usual, amd) for body in (gpus, others)] == [True, False, True, True]
    assert not amd.holds(pod(requests={"cpu": "1"}))
    assert not amd.holds(pod("another", limits={"nvidia.com/gpu": "1"}))
    assert not NO_EXTENDER.holds(gpus)
