"""Pack rules as manifests write them: `topologyConstraint` objects and KAI's annotations."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from adapters.kubernetes.objects import Document
from solver.domain.gang import Group, Pack
from solver.domain.levels import NARROWEST

TOPOLOGY = "kai.scheduler/topology"
REQUIRED = "kai.scheduler/topology-required-placement"
PREFERRED = "kai.scheduler/topology-preferred-placement"

#: Kueue's annotation for pods that may lie anywhere.
UNCONSTRAINED = "kueue.x-k8s.io/podset-unconstrained-topology"

#: The rule of a multi-node engine that says none: in one NVLink domain, or in the narrowest domain above the host.
TOGETHER = Pack(preferred=NARROWEST)


@dataclass(frozen=True, slots=True)
class Packing:
    """A pack rule and the Topology whose levels it means; empty = the gang's."""

    topology: str = ""
    pack: Pack = field(default_factory=Pack)

    def __bool__(self) -> bool:
        return bool(self.topology or self.packs)

    @property
    def packs(self) -> bool:
        """Whether it names any level."""
        return bool(self.pack.required or self.pack.preferred)


def packing(topology: str = "", required: str = "", preferred: str = "") -> Packing:
    """A pack rule; empty words mean that nothing is asked."""
    return Packing(topology, Pack(required or None, preferred or None))


def annotated(*sources: Mapping[str, str]) -> Packing:
    """The pack rule of KAI's annotations; earlier sources win key by key."""
    words = {key: value for source in reversed(sources) for key, value in source.items() if value}
    return packing(words.get(TOPOLOGY, ""), words.get(REQUIRED, ""), words.get(PREFERRED, ""))


def kept_together(engine: Group, *annotations: Mapping[str, str]) -> Group:
    """A multi-node engine, as close together as may be if none of its groups has a rule.

    annotations: of its pods or templates; one that says the topology does not matter is a rule too.
    """
    pods = sum(max(role.replicas, role.min) for group in engine.walk() for role in group.roles)
    has_rule = any(group.pack != Pack() for group in engine.walk())
    is_free = any(found.get(UNCONSTRAINED) == "true" for found in annotations)
    return engine if has_rule or is_free or pods < 2 else replace(engine, pack=TOGETHER)


def one_topology(doc: Document, rules: Iterable[Packing]) -> str:
    """The Topology all rules of a gang mean, empty if none is named; refuses several."""
    names = list(dict.fromkeys(rule.topology for rule in rules if rule.topology))
    if len(names) > 1:
        shown = ", ".join(names)
        raise doc.refuse("topology", f"several topologies in one gang are not supported yet ({shown})")
    return names[0] if names else ""
