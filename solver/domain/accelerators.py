"""Which resources are whole accelerator devices, and how many of them a request has.

Engine sizes, proximity, fragmentation and warnings count devices, whoever makes them. These are devices:

* `gpu` (what the adapters make of `nvidia.com/gpu`): thousandths, of which whole devices count.
* The names of `_NAMES`, resources of known device plugins; `*` stands for anything. A MIG slice, a partition, a vNPU
  and a time slice each count as one device: a plugin that renames nothing offers the same under the name of the whole.
* Names of any vendor, and of device classes (`deviceclass.resource.kubernetes.io/<class>`), in which a word says so:
  `example.com/gpu`, `example.com/vgpu-number`, class `gpu.example.com`. Words lie between `-`, `.` and `_`.

These never are, unless a cluster's settings name them: names with a word for a part of a device or for a network
(`_PARTS`: memory, cores, percentages, …), names of `rdma/`, and those of vendors that count hundredths (`_HUNDREDTHS`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from solver.domain.errors import InvalidRequest
from solver.domain.resources import GPU, MILLI_GPU, Resources

#: Most devices of all kinds together that a pod may ask for or a node may have.
MAX_DEVICES = 2**42
#: Most names a cluster's settings may add, and the longest one: a DNS name, a slash and a label.
MAX_ADDED, MAX_LENGTH = 64, 317
#: In front of a device class: the resource that requests for its devices come to.
DEVICE_CLASS = "deviceclass.resource.kubernetes.io/"

_NAMES = (
    "nvidia.com/mig-*",  # nvidia.com/gpu, gpu.shared and pgpu say so themselves
    "amd.com/?px_nps*",
    "gpu.intel.com/i915",
    "gpu.intel.com/xe",
    "habana.ai/gaudi",
    "cloud-tpus.google.com/*",
    "aws.amazon.com/neuron",
    "aws.amazon.com/neurondevice",
    "aws.amazon.com/neuroncore",
    "huawei.com/Ascend*",
    "cambricon.com/mlu*",
    "qualcomm.com/qaic",
    "furiosa.ai/rngd",
    "furiosa.ai/warboy",
    "rebellions.ai/ATOM*",
    "tenstorrent.com/*",
    DEVICE_CLASS + "mig.nvidia.com",
    DEVICE_CLASS + "gaudi.intel.com",
    DEVICE_CLASS + "neuron.aws.com",
)
_WORD = re.compile(r"[vsp]?(gpu|npu|tpu|xpu|dcu|gcu|mlu|ipu)s?(num)?")
_PARTS = re.compile(r"v?mem(ory)?|v?cores?|percent(age)?|ratio|milli(cores?)?|tiles|monitoring|count|rdma|roce|nic|hca")
_NEVER = ("rdma/",)
_HUNDREDTHS = ("koordinator.sh/", "kubernetes.io/")


@dataclass(frozen=True, slots=True)
class Accelerators:
    """The resources that are devices in one cluster.

    added: further names, with `*` for anything and `?` for a character; they come before the table and what it leaves
    out. Raises InvalidRequest for more than `MAX_ADDED` of them, or for what is no name of an extended resource.
    """

    added: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.added) > MAX_ADDED:
            raise InvalidRequest(f"accelerators: {len(self.added)} names are more than {MAX_ADDED}")
        for name in self.added:
            domain, _, rest = name.partition("/")
            if not domain or not rest or len(name) > MAX_LENGTH:
                raise InvalidRequest(f"accelerators: {name[:MAX_LENGTH]!r} is no name like example.com/device")

    def counts(self, resource: str) -> bool:
        """Whether the resource counts devices, or thousandths of them."""
        return _is_device(self.added, resource)

    def devices(self, requests: Resources) -> int:
        """How many whole devices a request has, of all kinds together. Raises InvalidRequest above `MAX_DEVICES`."""
        found = sum(amount // device_unit(name) for name, amount in requests if self.counts(name))
        if found > MAX_DEVICES:
            raise InvalidRequest(f"{found} devices are more than can be counted ({MAX_DEVICES})")
        return found

    def any_of(self, requests: Resources) -> bool:
        """Whether a request has a device or a part of one."""
        return any(self.counts(name) for name in requests.names())

    def among(self, resources: Iterable[str]) -> list[str]:
        """Those of the resources that are devices, in order."""
        return [name for name in resources if self.counts(name)]


#: What counts where a cluster's settings add nothing.
KNOWN_ACCELERATORS = Accelerators()


def device_unit(resource: str) -> int:
    """How much of a resource that counts devices is one of them."""
    return MILLI_GPU if resource == GPU else 1


@lru_cache(maxsize=4096)
def _is_device(added: tuple[str, ...], resource: str) -> bool:
    if resource == GPU or any(fnmatchcase(resource, name) for name in added):
        return True
    _, slash, name = resource.partition("/")
    if not slash or resource.startswith((*_NEVER, *_HUNDREDTHS)):
        return False
    words = re.split(r"[-._]", name.lower())
    if any(_PARTS.fullmatch(word) for word in words):
        return False
    return any(_WORD.fullmatch(word) for word in words) or any(fnmatchcase(resource, known) for known in _NAMES)
