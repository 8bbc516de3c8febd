"""What answers in JSON and YAML begin with, and their JSON Schemas."""

from enum import StrEnum
from importlib import resources

from adapters.kubernetes.cluster import OWN_GROUP

#: Of every answer.
API_VERSION = f"{OWN_GROUP}/v1alpha1"


class AnswerKind(StrEnum):
    """What an answer is."""

    PLAN = "Plan"
    TOPOLOGY = "TopologyReport"
    CALIBRATION = "Calibration"


_FILES = {AnswerKind.PLAN: "plan", AnswerKind.TOPOLOGY: "topology", AnswerKind.CALIBRATION: "calibration"}


def heading(kind: AnswerKind) -> dict[str, str]:
    """The first two keys of an answer."""
    return {"apiVersion": API_VERSION, "kind": kind.value}


def schema_text(kind: AnswerKind) -> str:
    """The JSON Schema of an answer: which keys there are, and that there are no others."""
    return resources.files("adapters.report").joinpath("schemas", f"{_FILES[kind]}.schema.json").read_text("utf-8")
