"""Which resources are devices, and how many of them requests and nodes have."""

import pytest

from solver.domain.accelerators import KNOWN_ACCELERATORS, MAX_ADDED, MAX_DEVICES, Accelerators
from solver.domain.difference import difference
from solver.domain.errors import InvalidRequest
from solver.domain.node_changes import with_nodes
from solver.domain.pods import BoundPod
from solver.domain.resources import GPU, Resources
from solver.domain.snapshot import Snapshot, build_snapshot
from support.builders import bound, node

MIG = "nvidia.com/mig-1g.10gb"


def site(*names: str) -> Snapshot:
    """Two nodes: four GPUs and three MIG slices, of which one of each is taken; and two AMD GPUs, closed."""
    held = BoundPod("default/x", "a", Resources.of({GPU: 500, MIG: 1}))
    nodes = [node("a", 4, more={MIG: 3}), node("b", 0, more={"amd.com/gpu": 2, "example.com/card": 8}, ready=False)]
    return build_snapshot(nodes, [held], accelerators=Accelerators(names))


@pytest.mark.parametrize(
    "name",
    [
        "gpu", "nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb.shared",
        "amd.com/gpu", "amd.com/cpx_nps4", "gpu.intel.com/i915", "gpu.intel.com/xe", "habana.ai/gaudi",
        "google.com/tpu",
        "aws.amazon.com/neuron", "aws.amazon.com/neurondevice", "aws.amazon.com/neuroncore", "huawei.com/Ascend910",
        "huawei.com/Ascend310P-2c", "cambricon.com/mlu370", "cambricon.com/vmlu", "mthreads.com/vgpu",
        "hygon.com/dcunum",
        "iluvatar.ai/BI-V150-vgpu", "metax-tech.com/gpu", "metax-tech.com/sgpu", "kunlunxin.com/xpu", "example.com/gpu",
        "volcano.sh/vgpu-number", "deviceclass.resource.kubernetes.io/gpu.nvidia.com",
        "deviceclass.resource.kubernetes.io/mig.nvidia.com", "deviceclass.resource.kubernetes.io/gpu.example.com",
    ],
)  # fmt: skip
def test_devices_count(name: str) -> None:
    """Whole devices, slices and partitions of every maker, and device classes that call themselves so."""
    assert KNOWN_ACCELERATORS.counts(name)


@pytest.mark.parametrize(
    "name",
    [
        "cpu", "memory", "pods", "hugepages-2Mi", "gpu-like", "nvidia.com/gpumem", "nvidia.com/gpucores",
        "nvidia.com/gpumem-percentage", "nvidia.com/priority", "aliyun.com/gpu-mem", "aliyun.com/gpu-count",
        "tencent.com/vcuda-core", "gpu.intel.com/millicores", "gpu.intel.com/memory.max",
        "gpu.intel.com/i915_monitoring",
        "huawei.com/Ascend910A-memory", "cambricon.com/mlu.smlu.vcore", "cambricon.com/mlu370.smlu.vmemory",
        "hygon.com/dcumem", "volcano.sh/vgpu-memory", "koordinator.sh/gpu", "kubernetes.io/gpu", "rdma/gpu_nic_a",
        "rdma/hca_shared_devices_a", "example.com/gpu-rdma", "vpc.amazonaws.com/efa", "example.com/fpga",
        "deviceclass.resource.kubernetes.io/compute-domain-default-channel.nvidia.com",
    ],
)  # fmt: skip
def test_parts_and_other_things_do_not(name: str) -> None:
    """Memory and cores of a device, hundredths, networks, and what is no accelerator."""
    assert not KNOWN_ACCELERATORS.counts(name)


def test_settings_add_names_and_patterns() -> None:
    """What a site names counts, even where the table leaves it out."""
    own = Accelerators(("example.com/fpga", "acme.example/*", "nvidia.com/gpumem"))
    assert all(map(own.counts, ("example.com/fpga", "acme.example/x1", "nvidia.com/gpumem", "amd.com/gpu")))
    assert not own.counts("example.com/fpga2")
    assert own.among(["cpu", "example.com/fpga", "gpu"]) == ["example.com/fpga", "gpu"]


@pytest.mark.parametrize("names", [("gpu",), ("/x",), ("x/",), ("a/" + "b" * 400,), ("a/b",) * (MAX_ADDED + 1)])
def test_names_that_are_none_are_refused(names: tuple[str, ...]) -> None:
    """A name has a domain and something after it, a limited length, and there are only so many."""
    with pytest.raises(InvalidRequest, match=r"^accelerators: "):
        Accelerators(names)


def test_a_request_has_whole_devices_of_all_kinds() -> None:
    """Parts of `gpu` are none, but something; units of other kinds count each."""
    both = Resources.of({GPU: 2500, MIG: 3, "cpu": 7, "nvidia.com/gpumem": 80_000})
    assert KNOWN_ACCELERATORS.devices(both) == 5
    half = Resources.of({GPU: 500})
    assert (KNOWN_ACCELERATORS.devices(half), KNOWN_ACCELERATORS.any_of(half)) == (0, True)
    assert not KNOWN_ACCELERATORS.any_of(Resources.of({"cpu": 1}))


def test_too_many_devices_are_refused() -> None:
    """Requests and nodes beyond what sums can hold."""
    most = Resources.of({"amd.com/gpu": MAX_DEVICES})
    assert KNOWN_ACCELERATORS.devices(most) == MAX_DEVICES
    with pytest.raises(InvalidRequest, match="more than can be counted"):
        KNOWN_ACCELERATORS.devices(Resources.of({"amd.com/gpu": MAX_DEVICES, MIG: 1}))
    huge = build_snapshot([node("a", 1, more={"amd.com/gpu": MAX_DEVICES})])
    with pytest.raises(InvalidRequest, match=r"^Node a: it has more devices than can be counted"):
        _ = huge.whole_free_gpus


def test_nodes_sum_their_kinds() -> None:
    """Free are whole devices of each kind, on closed nodes none; others count if a setting says so."""
    found = site()
    assert (found.whole_gpus.tolist(), found.whole_free_gpus.tolist()) == ([7, 2], [5, 0])
    assert (found.devices_left.tolist(), found.gpu_capacity) == ([5, 2], 9)
    assert site("example.com/card").whole_gpus.tolist() == [7, 10]


def test_changes_keep_what_counts() -> None:
    """Pods and nodes that come and go leave the settings alone; other settings are another snapshot."""
    before = site("example.com/card")
    later = with_nodes(before.with_pods([bound("y", "a", 1)]), [node("c", 1, more={"example.com/card": 5})])
    assert later.whole_free_gpus.tolist() == [4, 0, 6]
    assert later.with_rules({}, {}).accelerators.added == ("example.com/card",)
    assert difference(before, site()) is None
