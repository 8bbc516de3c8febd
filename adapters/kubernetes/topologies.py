"""Topology objects of KAI, Kueue and Grove → `TopologySpec`.

KAI and Kueue write levels as `nodeLabel` (KAI adds `alias`), Grove as `key` and `domain`. Grove derives a KAI
Topology from its own object under the same name: objects that share a name are read as one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from adapters.kubernetes.objects import Document
from solver.domain.errors import InvalidRequest
from solver.domain.levels import HOST, HOST_LABEL, ROOT, Level, TopologySpec, well_known_name
from solver.domain.plan import Notice

KINDS = ("Topology", "ClusterTopologyBinding", "ClusterTopology")
_KUEUE_GROUP = "kueue.x-k8s.io"


@dataclass(frozen=True, slots=True)
class _Named:
    """A level as declared: its label and the words it was given."""

    label: str
    words: tuple[str, ...]


def read_topologies(documents: Iterable[Document]) -> tuple[list[TopologySpec], list[Notice]]:
    """One topology per name, sorted by name.

    Where objects of the same name differ in their labels, KAI's counts before Grove's before Kueue's, with a
    notice. Levels finer than the host are left out with a notice. Raises InvalidRequest for malformed ones.
    """
    by_name: dict[str, list[Document]] = {}
    for doc in sorted(documents, key=_precedence):
        by_name.setdefault(doc.name, []).append(doc)
    specs: list[TopologySpec] = []
    notices: list[Notice] = []
    for _, group in sorted(by_name.items()):
        first, *others = group
        levels, found = _declared(first)
        notices += found
        for other in others:
            more, _ = _declared(other)
            if [level.label for level in more] != [level.label for level in levels]:
                message = f"{first.kind} of the same name has other levels and counts instead"
                notices.append(Notice("topology_repeated", other.described, "spec.levels", message))
            levels = _with_words(levels, more)
        specs.append(_spec(first, levels))
    return specs, notices


def _precedence(doc: Document) -> tuple[int, str]:
    if doc.kind == "Topology":
        return (2 if doc.api_group == _KUEUE_GROUP else 0), doc.kind
    return 1, doc.kind


def _declared(doc: Document) -> tuple[list[_Named], list[Notice]]:
    levels: list[_Named] = []
    for entry in doc.parts("spec.levels"):
        if levels and levels[-1].label == HOST_LABEL:
            message = "levels finer than the host are not considered"
            return levels, [Notice("level_ignored", doc.described, entry.at, message)]
        expected = "nodeLabel" if doc.kind == "Topology" else "key"
        label = entry.text(next((field for field in ("nodeLabel", "key") if entry.has(field)), expected))
        alias = entry.text("alias", "") or entry.text("domain", "")
        levels.append(_Named(label, (alias,) if alias else ()))
    return levels, []


def _with_words(levels: list[_Named], more: list[_Named]) -> list[_Named]:
    words = {level.label: level.words for level in more}
    return [replace(level, words=tuple(dict.fromkeys((*level.words, *words.get(level.label, ()))))) for level in levels]


def _spec(doc: Document, declared: list[_Named]) -> TopologySpec:
    names = _names(doc, declared)
    taken = {*names, *(level.label for level in declared), HOST, HOST_LABEL, ROOT}
    candidates = [[*level.words, well_known_name(level.label) or ""] for level in declared]
    uses = [word for words in candidates for word in set(words)]
    levels = [
        Level(
            name,
            level.label,
            also=tuple(dict.fromkeys(word for word in words if word and word not in taken and uses.count(word) == 1)),
        )
        for name, level, words in zip(names, declared, candidates, strict=True)
    ]
    if levels and levels[-1].label == HOST_LABEL and names[-1] != HOST and HOST not in names:
        levels[-1] = replace(levels[-1], also=(*levels[-1].also, HOST))
    try:
        return TopologySpec(doc.name, tuple(levels))
    except InvalidRequest as error:
        raise doc.refuse("spec.levels", str(error).removeprefix(f"Topology {doc.name}: ")) from error


def _names(doc: Document, declared: list[_Named]) -> list[str]:
    """How answers call the levels: the first given word, else the well-known name, else the label.

    A well-known name that is already in use gives way to the label, and only the host may be called `host`.
    """
    given = [level.words[0] if level.words else "" for level in declared]
    for index, word in enumerate(given):
        if word and word in given[:index]:
            raise doc.refuse(f"spec.levels[{index}]", f"the name {word!r} appears twice")
    names: list[str] = []
    for level, word in zip(declared, given, strict=True):
        name = word or well_known_name(level.label) or level.label
        reserved = name == ROOT or (name == HOST and level.label != HOST_LABEL)
        taken = not word and (name in given or name in names)
        names.append(level.label if reserved or taken else name)
    return names
