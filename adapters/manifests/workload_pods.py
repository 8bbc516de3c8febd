"""Pods of a workload by podset: those that run, then those that wait, and names of those that are still to be made."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adapters.kubernetes.objects import Document
from adapters.kubernetes.pods import PodShape
from adapters.manifests.reading import Reading, World
from adapters.manifests.workload_kinds import Podset, WorkloadKind
from solver.domain.gang import BoundMember
from solver.domain.naming import natural_key


@dataclass(frozen=True, slots=True)
class WorkloadPods:
    """Pods of one workload that exist.

    there: members, bound or not. done: those that have succeeded. shapes: of members that have been read, by
    `namespace/pod`. invent: whether names are made up for pods that do not exist.
    """

    there: Sequence[Document]
    done: Sequence[Document] = ()
    shapes: Mapping[str, PodShape] = field(default_factory=dict)
    invent: bool = True


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a podset, such as one job or one engine. pods: `namespace/pod`. needed: fewest of them."""

    pods: tuple[str, ...]
    needed: int


@dataclass(frozen=True, slots=True)
class NamedPods:
    """The pods of one podset.

    units: its parts with the names of their pods; where none is made up, those parts alone that have pods or had them.
    running: members that are bound. waiting: those that exist and are not. needed: fewest pods of all parts together.
    lacking: pods that are declared and do not exist.
    """

    units: tuple[Unit, ...]
    running: tuple[BoundMember, ...]
    waiting: tuple[Document, ...]
    needed: int
    lacking: int

    @property
    def pods(self) -> tuple[str, ...]:
        """Names of all pods, part by part."""
        return tuple(pod for unit in self.units for pod in unit.pods)


def pods_in_files(world: World, doc: Document, kind: WorkloadKind) -> WorkloadPods:
    """What the input knows of the pods of a workload."""
    succeeded = (pod for pod in world.pods.values() if pod.text("status.phase", "") == "Succeeded")
    done = [pod for pod in succeeded if kind.owner(pod) == doc.full_name]
    return WorkloadPods(world.existing_by(kind.owner).get(doc.full_name, ()), done)


def named_pods(
    reading: Reading, kind: WorkloadKind, podsets: Sequence[Podset], pods: WorkloadPods
) -> dict[str, NamedPods]:
    """Podset → its pods. Pods of no podset are left out, which a notice says.

    podsets: all of the workload, those that want no pod too. Raises InvalidRequest for pods that do not say which part
    of their podset they are in.
    """
    own: dict[str, list[Document]] = {podset.name: [] for podset in podsets}
    done: dict[str, list[Document]] = {podset.name: [] for podset in podsets}
    strangers: list[Document] = []
    only = podsets[0].name if len(podsets) == 1 else ""
    for some, by_podset in ((pods.there, own), (pods.done, done)):
        for pod in some:
            by_podset.get(only or kind.podset_of(pod), strangers).append(pod)
    if strangers:
        more = f" and {len(strangers) - 1} more pods" if len(strangers) > 1 else ""
        message = f"pod {strangers[0].full_name}{more} of it are of none of its templates and do not count"
        reading.note("member_unknown", "spec", message)
    return {
        podset.name: _named_pods(reading, kind, podset, own[podset.name], done[podset.name], pods.invent)
        for podset in podsets
    }


def _named_pods(
    reading: Reading, kind: WorkloadKind, podset: Podset, own: list[Document], done: Sequence[Document], invent: bool
) -> NamedPods:
    world = reading.world
    own.sort(key=lambda pod: (not world.node_of(pod), natural_key(pod.full_name)))
    running = tuple(BoundMember(pod.full_name, world.node_of(pod)) for pod in own if world.node_of(pod))
    finished = max(0, len(done) - podset.spare) if kind.completes else 0
    wanted = max(0, len(podset.names) - finished)
    needed = max(0, podset.least * podset.size - finished)
    told_apart = podset.is_engine or podset.job is not None
    if told_apart and (own or done) and podset.units > 1:
        units = _by_unit(podset, own, done if kind.completes else (), invent)
    else:
        names = [pod.full_name for pod in own]
        if invent:
            names = _filled(names, podset.names, max(wanted, len(own)), {pod.full_name for pod in done})
        units = _split(names, podset.size, needed) if told_apart else (Unit(tuple(names), needed),)
    waiting = tuple(pod for pod in own if not world.node_of(pod))
    return NamedPods(units, running, waiting, needed, max(0, wanted - len(own)))


def _by_unit(podset: Podset, own: Sequence[Document], done: Sequence[Document], invent: bool) -> tuple[Unit, ...]:
    """Pods by the part they say they are in, each part filled up with names of pods to come."""
    units: dict[str, list[str]] = {}
    for pod in (*own, *done):
        unit = podset.unit_of(pod)
        if not unit:
            raise pod.refuse("metadata.labels", f"does not say which of {podset.units} parts of {podset.name} it is in")
        units.setdefault(unit, [])
    for pod in own:
        units[podset.unit_of(pod)].append(pod.full_name)
    done_in = Counter(podset.unit_of(pod) for pod in done)
    over = {unit: max(0, min(podset.size, done_in[unit] - podset.spare)) for unit in units}
    parts = [(units[unit], podset.size - over[unit]) for unit in sorted(units, key=natural_key)]
    parts += [([], podset.size) for _ in range(podset.units - len(parts) if invent else 0)]
    taken = {pod.full_name for pod in (*own, *done)}
    free = iter([name for name in podset.names if name not in taken] if invent else ())
    return tuple(
        Unit((*part, *(name for _, name in zip(range(size - len(part)), free, strict=False))), size)
        for part, size in parts
    )


def _filled(names: list[str], wanted: Sequence[str], count: int, over: set[str]) -> list[str]:
    known = {*names, *over}
    return names + [name for name in wanted if name not in known][: count - len(names)]


def _split(names: Sequence[str], size: int, needed: int) -> tuple[Unit, ...]:
    """Names in parts of one size, of which the last needs what is left of all that are needed."""
    parts = [tuple(names[at : at + size]) for at in range(0, len(names), size)]
    return tuple(Unit(part, min(size, max(0, needed - at * size))) for at, part in enumerate(parts))
