"""The `Gang` object of huddle.scheduler/v1alpha1: every field of the domain, checked against its JSON Schema."""

from dataclasses import replace
from fractions import Fraction

from adapters.kubernetes.objects import Part
from adapters.manifests.own_schema import check_gang
from adapters.manifests.packing import annotated
from adapters.manifests.reading import FoundGang, Reading, located
from solver.domain.gang import Flow, Gang, Group, Kind, Pack, Pattern, Reach, Role, Spread

_ENGINES = (Kind.PREFILL, Kind.DECODE, Kind.WORKER)
_MOST_BYTES = 10**15


def read_gang(reading: Reading) -> FoundGang:
    """The gang as written; raises InvalidRequest with the first wrong field.

    `min` counts children on the root and replicas on every group below, where `minChildren` counts children.
    """
    doc = reading.doc
    check_gang(doc)
    spec, rule = doc.part("spec"), annotated(doc.annotations)
    root = _root(reading, spec.part("root"))
    if not spec.has("root.pack"):
        root = replace(root, pack=rule.pack)
    flows = tuple(_flow(part) for part in spec.parts("flows"))
    reach = tuple(_reach(part) for part in spec.parts("reach"))
    with located(doc):
        gang = Gang(
            doc.full_name,
            root,
            priority=_priority(reading, spec),
            queue=spec.text("queue", ""),
            topology=spec.text("topology", "") or rule.topology,
            flows=flows,
            reach=reach,
            requests_per_second=_ratio(spec, "requestsPerSecond", 0) if spec.has("requestsPerSecond") else None,
        )
    return reading.found(gang)


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
