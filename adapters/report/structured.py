"""A plan as the documented JSON or YAML: every key present, lists sorted, numbers exact where whole."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from adapters.report.answers import AnswerKind, heading
from adapters.report.numbers import plain
from solver.domain.naming import natural_key
from solver.domain.plan import Assignment, Batch, FlowReport, GangPlan, Notice, Plan, Proof, Reason, Stats, TermValue
from solver.domain.printable import printable

Document = dict[str, Any]

#: What is said of the time to first token beside transfer times, as long as no engine table is known.
TTFT = "not modelled"

#: Weakest first: what a whole call can claim is what its weakest gang can.
_PROOFS = (Proof.NONE, Proof.TREE, Proof.CPSAT, Proof.BOTH)


def plan_document(plan: Plan) -> Document:
    """The plan as plain dicts and lists, ready for JSON or YAML; `batch` is there for a joint plan only."""
    return {
        **heading(AnswerKind.PLAN),
        "status": plan.status.value,
        "warnings": _notices(plan.warnings),
        "gangs": [_gang(gang) for gang in plan.gangs],
        **({} if plan.batch is None else {"batch": _batch(plan.batch)}),
        "stats": _stats(total_stats([gang.stats for gang in plan.gangs])),
    }


def formatted(document: Document, form: str) -> str:
    """The document as `json` or `yaml` text."""
    return as_json(document) if form == "json" else as_yaml(document)


def as_json(document: Document) -> str:
    """The document as JSON text, indented, with a line break at the end; what is not printable is escaped."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    return "".join(f"{line if line == printable(line) else _in_ascii(line)}\n" for line in text.split("\n"))


def as_yaml(document: Any) -> str:
    """The document as YAML text, keys in the same order as in JSON; what is not printable is escaped."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False)


def _in_ascii(line: str) -> str:
    """A line of JSON with everything beyond printable ASCII escaped."""
    return "".join(letter if " " <= letter <= "~" else json.dumps(letter)[1:-1] for letter in line)


class _Dumper(yaml.SafeDumper):
    """Writes text with characters that are not printable in double quotes and escapes them."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """A scalar, quoted where it has to be."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text == printable(text) else '"')

    def write_double_quoted(self, text: str, split: bool = True) -> None:
        """As its base, which would write marks of direction and of no width as they are."""
        allowed, self.allow_unicode = self.allow_unicode, text == printable(text)
        super().write_double_quoted(text, split)
        self.allow_unicode = allowed


_Dumper.add_representer(str, _Dumper.represent_text)


def total_stats(parts: Sequence[Stats]) -> Stats:
    """Stats of a call from those of its gangs: times summed, sizes the largest, the weakest proof."""
    if not parts:
        return Stats()
    return Stats(
        nodes=max(part.nodes for part in parts),
        classes=max(part.classes for part in parts),
        signatures=max(part.signatures for part in parts),
        domains_recomputed=sum(part.domains_recomputed for part in parts),
        widened=any(part.widened for part in parts),
        compile_ms=sum(part.compile_ms for part in parts),
        bound_ms=sum(part.bound_ms for part in parts),
        search_ms=sum(part.search_ms for part in parts),
        verify_ms=sum(part.verify_ms for part in parts),
        engine=parts[0].engine,
        proof=min((part.proof for part in parts), key=_PROOFS.index),
    )


def _gang(gang: GangPlan) -> Document:
    return {
        "name": gang.name,
        "status": gang.status.value,
        "warnings": _notices(gang.warnings),
        "assignments": _assignments(gang.assignments),
        "running": _assignments(gang.running),
        "objective": [_term(term) for term in gang.objective],
        "domains": {level: int(count) for level, count in gang.domains.items()},
        "flows": [_flow(flow) for flow in sorted(gang.flows, key=lambda flow: (flow.source, flow.target))],
        "handover_ms": None if gang.handover_ms is None else plain(gang.handover_ms),
        "ttft": TTFT if gang.flows else None,
        "reasons": [_reason(reason) for reason in sorted_reasons(gang.reasons)],
        "relaxations": [],
        "evictions": [],
        "evicted_pods": [],
        "moves": [],
    }


def _batch(batch: Batch) -> Document:
    return {
        "admitted": [
            {"priority": each.priority, "waited": each.waited, "value": each.value, "bound": each.bound}
            for each in batch.admitted
        ],
        "objective": [_term(term) for term in batch.objective],
    }


def sorted_reasons(reasons: Iterable[Reason]) -> list[Reason]:
    """Reasons by code, then by text."""
    return sorted(reasons, key=lambda reason: (reason.code.value, reason.message))


def sorted_notices(notices: Iterable[Notice]) -> list[Notice]:
    """Notices by code, object and field, each once."""
    return sorted(set(notices), key=lambda notice: (notice.code, notice.object, notice.field, notice.message))


def _notices(notices: Iterable[Notice]) -> list[Document]:
    return [
        {"code": notice.code, "object": notice.object, "field": notice.field, "message": notice.message}
        for notice in sorted_notices(notices)
    ]


def _assignments(assignments: Iterable[Assignment]) -> list[Document]:
    return [
        {
            "pod": assignment.pod,
            "role": assignment.role,
            "node": assignment.node,
            "gpu_devices": list(assignment.gpu_devices),
        }
        for assignment in sorted(assignments, key=lambda assignment: natural_key(assignment.pod))
    ]


def _term(term: TermValue) -> Document:
    return {
        "term": term.term,
        "sense": term.sense.value,
        "value": plain(term.value),
        "bound": None if term.bound is None else plain(term.bound),
    }


def _flow(flow: FlowReport) -> Document:
    return {
        "from": flow.source,
        "to": flow.target,
        "tier_share": {level: plain(share) for level, share in flow.tier_share.items()},
        "transfer_us": plain(flow.transfer_us),
    }


def _reason(reason: Reason) -> Document:
    return {
        "code": reason.code.value,
        "message": reason.message,
        "objects": sorted(reason.objects, key=natural_key),
        "numbers": {key: int(reason.numbers[key]) for key in sorted(reason.numbers)},
    }


def _stats(stats: Stats) -> Document:
    return {
        "nodes": stats.nodes,
        "classes": stats.classes,
        "signatures": stats.signatures,
        "compile_ms": round(stats.compile_ms, 3),
        "bound_ms": round(stats.bound_ms, 3),
        "search_ms": round(stats.search_ms, 3),
        "verify_ms": round(stats.verify_ms, 3),
        "engine": stats.engine,
        "proof": stats.proof.value,
        "domains_recomputed": stats.domains_recomputed,
        "widened": stats.widened,
    }
