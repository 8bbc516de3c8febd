"""What a role does, from labels and names."""

from collections.abc import Mapping

from solver.domain.gang import Kind

COMPONENT_TYPE = "nvidia.com/dynamo-component-type"
SUB_COMPONENT_TYPE = "nvidia.com/dynamo-sub-component-type"

_BY_TYPE = {
    "frontend": Kind.ROUTER,
    "router": Kind.ROUTER,
    "epp": Kind.ROUTER,
    "prefill": Kind.PREFILL,
    "decode": Kind.DECODE,
    "planner": Kind.OTHER,
}
_PLAIN_WORKER = "worker"


def kind_of_type(word: str) -> Kind | None:
    """The kind a Dynamo component type stands for; None for a plain worker and for types nobody knows."""
    return _BY_TYPE.get(word.lower())


def kind_of_name(name: str) -> Kind | None:
    """The kind a name suggests: the one of prefill, decode, frontend or router it contains, None if not one."""
    lower = name.lower()
    found = {
        kind for word, kind in _BY_TYPE.items() if word in ("prefill", "decode", "frontend", "router") and word in lower
    }
    return found.pop() if len(found) == 1 else None


def is_typed(labels: Mapping[str, str]) -> bool:
    """Whether Dynamo's labels say what a pod is."""
    return COMPONENT_TYPE in labels or SUB_COMPONENT_TYPE in labels


def kind_of(labels: Mapping[str, str], name: str) -> Kind:
    """The kind of a role by Dynamo's labels, else by name, else `other`.

    A plain worker whose name says neither prefill nor decode serves alone.
    """
    component = labels.get(COMPONENT_TYPE, "")
    typed = kind_of_type(labels.get(SUB_COMPONENT_TYPE, "")) or kind_of_type(component)
    rest = Kind.WORKER if component.lower() == _PLAIN_WORKER else Kind.OTHER
    return typed or kind_of_name(name) or rest
