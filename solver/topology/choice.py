"""Which topology a gang is planned in."""

from collections.abc import Sequence

from solver.domain.errors import InvalidRequest
from solver.domain.gang import Gang
from solver.domain.levels import HOST, HOST_LABEL, Level, TopologySpec, discovered_topology, well_known_name
from solver.domain.plan import Notice
from solver.domain.snapshot import Snapshot
from solver.topology.nesting import add_level, is_host, with_others


def choose_topology(
    snapshot: Snapshot, gang: Gang, words: Sequence[str] = ()
) -> tuple[TopologySpec, tuple[Notice, ...]]:
    """The topology a gang asks for: the named one, the only one, else what the labels of the nodes tell.

    words: levels that others name who are planned with it; they count as its own. Raises InvalidRequest for levels of
    node labels that do not nest in each other.
    """
    declared = snapshot.topologies
    if gang.topology in declared:
        return declared[gang.topology], ()
    if gang.topology:
        message = f"topology {gang.topology} is not in the input; the levels are taken from well-known node labels"
        unknown = Notice("topology_unknown", gang.topology, "topology", message)
        spec, notices = labelled_topology(snapshot, (*gang.level_words, *words), gang)
        return spec, (unknown, *notices)
    if len(declared) == 1:
        return next(iter(declared.values())), ()
    return labelled_topology(snapshot, (*gang.level_words, *words), gang)


def cluster_topology(snapshot: Snapshot, name: str = "") -> TopologySpec:
    """The named topology, without a name the only one there is, else what well-known labels tell."""
    declared = snapshot.topologies
    if name in declared:
        return declared[name]
    return next(iter(declared.values())) if len(declared) == 1 and not name else labelled_topology(snapshot)[0]


def labelled_topology(
    snapshot: Snapshot, words: Sequence[str] = (), gang: Gang | None = None
) -> tuple[TopologySpec, tuple[Notice, ...]]:
    """The topology that node labels tell: well-known ones, and each label that one of `words` is the key of.

    Levels that nobody names have to go where they do not nest with one that somebody does, which the notices say.
    Raises InvalidRequest for named ones that do not nest.
    """
    labels, name = snapshot.labels, gang.topology if gang else ""
    wanted = list(dict.fromkeys(words))
    levels = list(discovered_topology(labels, name).levels[:-1])
    host, lost = Level(HOST, HOST_LABEL), dict[str, tuple[Level, str]]()

    def named(level: Level) -> str:
        return next((word for word in wanted if level.answers_to(word)), "")

    for key in wanted:
        if key not in labels or any(level.answers_to(key) for level in (*levels, host)):
            continue
        if is_host(labels, key):
            host = Level(HOST, HOST_LABEL, also=(*host.also, key))
            continue
        levels, gone = add_level(labels, levels, key, named)
        lost |= {level.label: (level, key) for level in gone}
    taken = {level.name for level in levels}
    namesakes = [key for key in sorted(labels) if key != HOST_LABEL and well_known_name(key) in taken]
    spec = TopologySpec(name, (*with_others(labels, levels, [*lost, *namesakes], named), host), discovered=True)
    return spec, tuple(_left_out(*lost[label], gang) for label in lost if spec.find(label) is None)


def joint_words(snapshot: Snapshot, gangs: Sequence[Gang]) -> tuple[tuple[str, ...], Notice | None]:
    """Level words of all gangs together where one topology holds them all; else none, and a notice that says why."""
    words = tuple(dict.fromkeys(word for gang in gangs for word in gang.level_words))
    try:
        for gang in gangs:
            choose_topology(snapshot, gang, words)
    except InvalidRequest as error:
        message = f"the gangs are planned one after another: {error}"
        return (), Notice("not_joint", ", ".join(gang.name for gang in gangs), "topology", message)
    return words, None


def _left_out(level: Level, key: str, gang: Gang | None) -> Notice:
    message = f"level {level.name} ({level.label}) does not nest with {key}, which is named, and counts for nothing"
    return Notice("level_left_out", gang.name if gang else key, "topology", message)
