"""Numbers too small for a float: a little of something is never nothing."""

import pytest

from adapters.files.documents import read_documents
from adapters.files.json_text import read_json
from adapters.files.yaml_text import read_yaml
from adapters.kubernetes.amounts import pod_requests
from solver.domain.errors import InvalidRequest
from solver.domain.resources import Resources

TINY = ("1e-400", "1E-400", "1.0e-400000000", "0.000001e-330", f"0.{'0' * 400}1")


@pytest.mark.parametrize("digits", TINY)
def test_they_are_read_as_the_least_there_is(digits: str) -> None:
    """Away from zero, in YAML as in JSON; zero itself stays zero."""
    for read in (read_yaml, read_json):
        assert read(f"[{digits}, -{digits}]")[0].value == [5e-324, -5e-324]
        assert read("[0.0, 0e-400, 0.000e5, -0.0]")[0].value == [0, 0, 0, 0]


def requests(tmp_path: object, name: str, amount: str) -> Resources:
    """What a pod asks for that asks for so much of one resource."""
    path = f"{tmp_path}/pod.yaml"
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{resources: {requests: {%s: %s}}}]}}"
    with open(path, "w", encoding="utf-8") as file:
        file.write(pod % (name, amount))
    return pod_requests(read_documents([path])[0])


@pytest.mark.parametrize("amount", [*TINY, '"1e-400"', '"1n"', '"0.001"', '"1e-400000000"'])
@pytest.mark.parametrize("name", ["nvidia.com/gpu", "amd.com/gpu", "example.com/device"])
def test_a_part_of_a_device_is_refused(tmp_path: object, name: str, amount: str) -> None:
    """However small it is and however it is written."""
    with pytest.raises(InvalidRequest, match=r"must be a (whole number|quantity)"):
        requests(tmp_path, name, amount)


@pytest.mark.parametrize("amount", [*TINY, '"1e-400"', '"1n"'])
@pytest.mark.parametrize("name", ["cpu", "memory", "ephemeral-storage", "hugepages-2Mi"])
def test_a_part_of_anything_else_is_rounded_up(tmp_path: object, name: str, amount: str) -> None:
    """As Kubernetes rounds quantities: to one unit."""
    assert requests(tmp_path, name, amount) == Resources.of({name: 1})


@pytest.mark.parametrize("amount", ["-1e-400", '"-1e-400"'])
def test_less_than_nothing_is_refused(tmp_path: object, amount: str) -> None:
    """However little less."""
    with pytest.raises(InvalidRequest, match="is negative"):
        requests(tmp_path, "memory", amount)
