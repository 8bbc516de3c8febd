"""Resources, and what decides which nodes a pod may use."""

from collections.abc import Iterable

from solver.api.v1 import gang_pb2 as pb
from solver.domain.constraints import (
    NO_EXECUTE,
    NO_SCHEDULE,
    PREFER_NO_SCHEDULE,
    AntiAffinity,
    NodeConstraints,
    NodeSelectorTerm,
    Operator,
    PodSelector,
    Requirement,
    Taint,
    Toleration,
    VolumeNodes,
)
from solver.domain.resources import CPU, EPHEMERAL_STORAGE, GPU, MAX_AMOUNT, MEMORY, Resources
from solver.service.codec.fields import known, required, within
from solver.service.errors import InvalidField

_NAMED = {
    GPU: "gpu_milli",
    CPU: "cpu_milli",
    MEMORY: "memory_bytes",
    EPHEMERAL_STORAGE: "ephemeral_storage_bytes",
}
_OPERATORS: dict["pb.Operator.ValueType", Operator] = {
    pb.OPERATOR_IN: Operator.IN,
    pb.OPERATOR_NOT_IN: Operator.NOT_IN,
    pb.OPERATOR_EXISTS: Operator.EXISTS,
    pb.OPERATOR_DOES_NOT_EXIST: Operator.DOES_NOT_EXIST,
    pb.OPERATOR_GT: Operator.GT,
    pb.OPERATOR_LT: Operator.LT,
}
_OPERATOR_NUMBERS = {operator: number for number, operator in _OPERATORS.items()}
_EFFECTS: dict["pb.TaintEffect.ValueType", str] = {
    pb.TAINT_EFFECT_NO_SCHEDULE: NO_SCHEDULE,
    pb.TAINT_EFFECT_PREFER_NO_SCHEDULE: PREFER_NO_SCHEDULE,
    pb.TAINT_EFFECT_NO_EXECUTE: NO_EXECUTE,
}
_EFFECT_NUMBERS = {effect: number for number, effect in _EFFECTS.items()}


def decode_resources(message: pb.Resources, field: str) -> Resources:
    """Amounts; zeros are absent."""
    found = {name: within(getattr(message, own), 0, MAX_AMOUNT, f"{field}.{own}") for name, own in _NAMED.items()}
    for name, amount in message.extended.items():
        path = f"{field}.extended[{name}]"
        if name in found:
            raise InvalidField(path, "has a field of its own")
        found[required(name, path)] = within(amount, 0, MAX_AMOUNT, path)
    return Resources.of(found)


def encode_resources(resources: Resources) -> pb.Resources:
    """Amounts, those without a field of their own under `extended`."""
    message = pb.Resources()
    for name, amount in resources:
        if name in _NAMED:
            setattr(message, _NAMED[name], amount)
        else:
            message.extended[name] = amount
    return message


def decode_constraints(message: pb.NodeConstraints, namespace: str, field: str) -> NodeConstraints:
    """Constraints of a pod; `namespace` counts where the message names none."""
    return NodeConstraints(
        selector=tuple(sorted(message.node_selector.items())),
        affinity=tuple(_term(term, f"{field}.affinity[{at}]") for at, term in enumerate(message.affinity)),
        tolerations=tuple(
            _toleration(item, f"{field}.tolerations[{at}]") for at, item in enumerate(message.tolerations)
        ),
        anti_affinity=tuple(
            decode_anti_affinity(item, f"{field}.anti_affinity[{at}]") for at, item in enumerate(message.anti_affinity)
        ),
        namespace=message.namespace or namespace,
        labels=tuple(sorted(message.labels.items())),
        volumes=tuple(_volume(item, f"{field}.volumes[{at}]") for at, item in enumerate(message.volumes)),
    )


def encode_constraints(constraints: NodeConstraints) -> pb.NodeConstraints:
    """Everything."""
    return pb.NodeConstraints(
        node_selector=dict(constraints.selector),
        affinity=_encoded_terms(constraints.affinity),
        tolerations=[
            pb.Toleration(
                key=item.key,
                value=item.value,
                exists=item.exists,
                effect=_EFFECT_NUMBERS[item.effect] if item.effect else pb.TAINT_EFFECT_UNSPECIFIED,
            )
            for item in constraints.tolerations
        ],
        anti_affinity=[encode_anti_affinity(item) for item in constraints.anti_affinity],
        labels=dict(constraints.labels),
        namespace=constraints.namespace,
        volumes=[pb.VolumeNodes(claim=item.claim, terms=_encoded_terms(item.terms)) for item in constraints.volumes],
    )


def decode_anti_affinity(message: pb.AntiAffinity, field: str) -> AntiAffinity:
    """One term of required anti-affinity."""
    requirements = _requirements(message.selector.requirements, f"{field}.selector.requirements")
    selector = PodSelector(requirements, tuple(message.selector.namespaces))
    return AntiAffinity(required(message.topology_key, f"{field}.topology_key"), selector)


def encode_anti_affinity(item: AntiAffinity) -> pb.AntiAffinity:
    """One term of required anti-affinity."""
    selector = pb.PodSelector(requirements=_encoded(item.selector.requirements), namespaces=item.selector.namespaces)
    return pb.AntiAffinity(topology_key=item.topology_key, selector=selector)


def decode_taint(message: pb.Taint, field: str) -> Taint:
    """A taint."""
    key = required(message.key, f"{field}.key")
    return Taint(key, message.value, known(_EFFECTS, message.effect, f"{field}.effect"))


def encode_taint(taint: Taint) -> pb.Taint:
    """A taint."""
    return pb.Taint(key=taint.key, value=taint.value, effect=_EFFECT_NUMBERS[taint.effect])


def _term(message: pb.NodeSelectorTerm, field: str) -> NodeSelectorTerm:
    names = _requirements(message.match_names, f"{field}.match_names")
    for at, requirement in enumerate(names):
        if requirement.key != "metadata.name":
            raise InvalidField(f"{field}.match_names[{at}].key", "only metadata.name is known")
    return NodeSelectorTerm(_requirements(message.match_labels, f"{field}.match_labels"), names)


def _volume(message: pb.VolumeNodes, field: str) -> VolumeNodes:
    terms = (_term(term, f"{field}.terms[{at}]") for at, term in enumerate(message.terms))
    return VolumeNodes(required(message.claim, f"{field}.claim"), tuple(terms))


def _toleration(message: pb.Toleration, field: str) -> Toleration:
    effect = known({**_EFFECTS, pb.TAINT_EFFECT_UNSPECIFIED: ""}, message.effect, f"{field}.effect")
    return Toleration(message.key, message.value, message.exists, effect)


def _requirements(messages: Iterable[pb.Requirement], field: str) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(
            required(message.key, f"{field}[{at}].key"),
            known(_OPERATORS, message.operator, f"{field}[{at}].operator"),
            tuple(message.values),
        )
        for at, message in enumerate(messages)
    )


def _encoded_terms(terms: Iterable[NodeSelectorTerm]) -> list[pb.NodeSelectorTerm]:
    return [pb.NodeSelectorTerm(match_labels=_encoded(term.labels), match_names=_encoded(term.names)) for term in terms]


def _encoded(requirements: Iterable[Requirement]) -> list[pb.Requirement]:
    return [
        pb.Requirement(key=item.key, operator=_OPERATOR_NUMBERS[item.operator], values=item.values)
        for item in requirements
    ]
