"""The `Gang` object of huddle.scheduler/v1alpha1: every field of the domain, checked against its JSON Schema."""

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

from adapters.kubernetes.objects import Part
from adapters.manifests.own_schema import check_gang
from adapters.manifests.packing import annotated
from adapters.manifests.reading import FoundGang, Reading, located
from solver.domain.gang import Flow, Gang, Group, Kind, Pack, Pattern, Reach, Role, Spread, check_tree

_ENGINES = (Kind.PREFILL, Kind.DECODE, Kind.WORKER)
_MOST_BYTES = 10**15


@dataclass(frozen=True, slots=True)
class DeclaredGang:
    """What a `Gang` object says; fields as of `Gang`. Its pods have no names yet, so it is as large as what is written.

    Raises InvalidRequest for what `Gang` refuses.
    """

    name: str
    root: Group
    priority: int = 0
    queue: str = ""
    topology: str = ""
    flows: tuple[Flow, ...] = ()
    reach: tuple[Reach, ...] = ()
    requests_per_second: Fraction | None = None

    def __post_init__(self) -> None:
        check_tree(self.name, self.root, (*self.flows, *self.reach), self.requests_per_second)

    @property
    def roles(self) -> tuple[Role, ...]:
        """All roles, in declared order."""
        return tuple(role for group in self.root.walk() for role in group.roles)

    def made_of(self, root: Group, **more: Any) -> Gang:
        """The gang with this tree. more: further fields, and those that are to be others than declared."""
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        return Gang(**{**mine, "root": root, **more})


def read_gang(reading: Reading) -> FoundGang:
    """The gang as written, with pods of made up names; raises InvalidRequest with the first wrong field.

    `min` counts children on the root and replicas on every group below, where `minChildren` counts children.
    """
    declared = read_declared(reading)
    with located(reading.doc):
        gang = declared.made_of(declared.root)
    return reading.found(gang)


def read_declared(reading: Reading) -> DeclaredGang:
    """What the object says, as in `read_gang`, without a name for any pod."""
    doc = reading.doc
    check_gang(doc)
    spec, rule = doc.part("spec"), annotated(doc.annotations)
    root = _root(reading, spec.part("root"))
    if not spec.has("root.pack"):
        root = replace(root, pack=rule.pack)
    flows = tuple(_flow(part) for part in spec.parts("flows"))
    reach = tuple(_reach(part) for part in spec.parts("reach"))
    with located(doc):
        return DeclaredGang(
            doc.full_name,
            root,
            priority=_priority(reading, spec),
            queue=spec.text("queue", ""),
            topology=spec.text("topology", "") or rule.topology,
            flows=flows,
            reach=reach,
            requests_per_second=_ratio(spec, "requestsPerSecond", 0) if spec.has("requestsPerSecond") else None,
        )


def _priority(reading: Reading, spec: Part) -> int:
    """The number it states, else the value of its PriorityClass or of the default one."""
    if not spec.has("priority"):
        return reading.priority()
    if spec.has("priorityClassName"):
        raise spec.refuse("priorityClassName", "excludes spec.priority")
    return spec.whole("priority", minimum=-(2**31))


def _root(reading: Reading, part: Part) -> Group:
    roles, groups = _children(reading, part)
    with located(reading.doc, part.at):
        return Group(
            reading.doc.full_name,
            roles,
            groups,
            min=part.whole("min", None),
            pack=_pack(part),
            spread=_spread(part),
            multinode=part.flag("multinode", False),
        )


def _group(reading: Reading, part: Part) -> Group:
    roles, groups = _children(reading, part)
    replicas, least = part.whole("replicas", 1), part.whole("minChildren", None)
    one_engine = least is None and not groups and _is_engine(roles)
    with located(reading.doc, part.at):
        return Group(
            part.text("name"),
            roles,
            groups,
            replicas,
            part.whole("min", replicas),
            least,
            _pack(part),
            _spread(part),
            part.flag("multinode", one_engine),
        )


def _children(reading: Reading, part: Part) -> tuple[tuple[Role, ...], tuple[Group, ...]]:
    roles = tuple(_role(reading, role) for role in part.parts("roles"))
    return roles, tuple(_group(reading, group) for group in part.parts("groups"))


def _is_engine(roles: tuple[Role, ...]) -> bool:
    """Whether these are taken for the ranks of one engine: several, of one serving kind, none optional."""
    kinds = {role.kind for role in roles}
    fixed = all(role.min == role.replicas for role in roles)
    return fixed and len(kinds) == 1 and kinds <= set(_ENGINES) and sum(role.replicas for role in roles) > 1


def _role(reading: Reading, part: Part) -> Role:
    shape = reading.shape(part.mapping("template"), part.path("template"))
    replicas = part.whole("replicas")
    with located(reading.doc, part.at):
        return Role(
            part.text("name"),
            replicas,
            part.whole("min", replicas),
            Kind(part.text("kind", Kind.OTHER)),
            shape.requests,
            shape.constraints,
            (*_spread(part), *shape.spread),
        )


def _pack(part: Part) -> Pack:
    return Pack(part.text("pack.required", None), part.text("pack.preferred", None))


def _spread(part: Part) -> tuple[Spread, ...]:
    return tuple(Spread(entry.text("level"), entry.whole("max")) for entry in part.parts("spread"))


def _flow(part: Part) -> Flow:
    with located(part.document, part.at):
        return Flow(
            _ends(part, "from"),
            _ends(part, "to"),
            part.whole("bytes", maximum=_MOST_BYTES),
            _ratio(part, "perRequest", 1),
            Pattern(part.text("pattern", Pattern.ALL_TO_ALL)),
        )


def _reach(part: Part) -> Reach:
    with located(part.document, part.at):
        return Reach(_ends(part, "from"), _ends(part, "to"), part.text("level"), _ratio(part, "ratio", 0))


def _ends(part: Part, field: str) -> tuple[str, ...]:
    """A role name or a list of them."""
    found = part.find(field)
    return (found,) if isinstance(found, str) else part.words(field)


def _ratio(part: Part, field: str, default: int) -> Fraction:
    """The decimal as written: 0.1 is one tenth."""
    found = part.find(field)
    return Fraction(default if found is None else str(found))
