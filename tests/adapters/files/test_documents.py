"""Files to documents: what is opened, and the line that refuses the rest."""

import io
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from adapters.files import documents
from adapters.files.documents import read_documents
from solver.domain.errors import InvalidRequest, SourceUnavailable

Reader = Callable[[str | bytes], list[str]]
NODE = '{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}'


def summary(paths: list[str]) -> list[str]:
    """Kind and full name of every document."""
    return [f"{doc.kind} {doc.full_name}" for doc in read_documents(paths)]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Reads text as the file `in`."""
    monkeypatch.chdir(tmp_path)

    def reader(content: str | bytes) -> list[str]:
        Path("in").write_bytes(content if isinstance(content, bytes) else content.encode())
        return summary(["in"])

    return reader


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (NODE, ["Node default/a"]),
        (NODE + NODE, ["Node default/a"] * 2),
        (f"{NODE}\n---\n{NODE}\n---\n", ["Node default/a"] * 2),
        ("\ufeff" + NODE, ["Node default/a"]),
        ("{kind: Pod, metadata: {name: p, namespace: s}}", ["Pod s/p"]),
        ("kind: Pod\nmetadata:\n  name: p\n", ["Pod default/p"]),
        (
            "---\n---\nkind: A\nmetadata: {name: x}\n---\nnull\n---\nkind: B\nmetadata: {name: y}",
            ["A default/x", "B default/y"],
        ),
        ('{"kind": "List", "items": [' + NODE + ", null, " + NODE + "]}", ["Node default/a"] * 2),
        ('{"kind": "List", "items": []}', []),
        ('{"kind": "PodList", "items": null}', []),
        ('{"kind": "NodeList", "apiVersion": "v1", "items": [{"metadata": {"name": "b"}}]}', ["Node default/b"]),
        ('{"items": [{"kind": "PodList", "items": [{"metadata": {"name": "b"}}]}]}', ["Pod default/b"]),
        ("kind: AllowList\nmetadata: {name: x}\nspec: {}", ["AllowList default/x"]),
        ("base: &b {name: x}\nkind: K\nmetadata:\n  <<: *b\n  namespace: s", ["K s/x"]),
    ],
)
def test_what_is_opened(read: Reader, content: str, found: list[str]) -> None:
    """JSON and YAML, streams and lists; empty documents are skipped."""
    assert read(content) == found


def test_entries_of_a_typed_list_take_its_kind_and_version(tmp_path: Path) -> None:
    """As `kubectl get --raw` prints them."""
    path = tmp_path / "nodes.json"
    path.write_text('{"kind": "NodeList", "apiVersion": "v1", "items": [{"metadata": {"name": "b"}}]}')
    (doc,) = read_documents([str(path)])
    assert (doc.kind, doc.api_version, doc.source) == ("Node", "v1", str(path))


def test_files_are_read_in_order(tmp_path: Path) -> None:
    """Documents keep the order of files and of documents in them."""
    for name in "ba":
        (tmp_path / name).write_text(f"kind: K\nmetadata: {{name: {name}}}")
    assert summary([str(tmp_path / "b"), str(tmp_path / "a")]) == ["K default/b", "K default/a"]


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Piped input is called `<stdin>` in messages."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(NODE.encode())))
    assert [doc.source for doc in read_documents(["-"])] == ["<stdin>"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "in: holds no objects"),
        ("# nothing\n---\n", "in: holds no objects"),
        (b"\xff\xfe\x00", "in:1: is not UTF-8 text"),
        (b"kind: A\n\xff", "in:2: is not UTF-8 text"),
        (b"a: \x00b", "in: is not YAML: holds characters that YAML does not allow"),
        (b"PK\x03\x04rest", "in: is a zip archive; KAI snapshots are not supported yet"),
        ("[]", "in:1: the document must be a mapping, not a list"),
        ("just words", "in:1: the document must be a mapping, not 'just words'"),
        ("a: b", "in:1: kind is missing"),
        ("kind: A\nmetadata: {name: x}\n---\nkind: B\n", "in:4: metadata.name is missing"),
        ("kind: ''\nmetadata: {name: x}", "in:1: kind must not be empty"),
        ("kind: 3\nmetadata: {name: x}", "in:1: kind must be text, not 3"),
        ("kind: A\nmetadata: {name: 5}", "in:1: metadata.name must be text, not 5"),
        ("kind: A\nmetadata: []", "in:1: metadata must be a mapping, not a list"),
        ("kind: A\nmetadata: {name: a/b}", "in:1: metadata.name: 'a/b' is not a name"),
        ('kind: A\nmetadata: {name: "a\\nb"}', "in:1: metadata.name: 'a\\nb' is not a name"),
        ("kind: A\nmetadata: {name: a, namespace: b c}", "in:1: metadata.namespace: 'b c' is not a name"),
        ("kind: A\nmetadata: {name: a, uid: 7}", "in:1: metadata.uid must be text, not 7"),
        ("apiVersion: 1\nkind: A\nmetadata: {name: a}", "in:1: apiVersion must be text, not 1"),
        ('{"kind": "List", "items": {}}', "in:1: items must be a list, not a mapping"),
        ('\n{"kind": "List", "items": [1]}', "in:2: items[0] must be a mapping, not 1"),
        ('{"kind": "List", "items": [{"kind": "A"}]}', "in:1: items[0].metadata.name is missing"),
        ('{"a": NaN}', "in:1: NaN is not a number"),
        ('{"a": -Infinity}', "in:1: -Infinity is not a number"),
        ('{"a": 1e999}', "in:1: number '1e999' is too large"),
        ('{"a": ' + "9" * 5000 + "}", "in:1: holds a number with too many digits"),
        ('{"a": {"b": 1, "b": 2}}', "in:1: key 'b' appears twice in one mapping"),
        ('{"a": ' * 100 + "1" + "}" * 100, "in:1: kind is missing"),
        ('{"a": ' * 101 + "1" + "}" * 101, "in:1: is nested deeper than 100 levels"),
        ('{"a": ' * 5000, "in:1: is nested deeper than 100 levels"),
        ('{"a": 1\n"b": 2}', "in:2: is not JSON: Expecting ',' delimiter"),
        (NODE + "\nrest", "in:2: is not JSON: Expecting value"),
        ("a: b\na: c", "in:2: key 'a' appears twice in one mapping"),
        ("a: b: c", "in:1: is not YAML: mapping values are not allowed in this context"),
        ("a:\n\t- b", "in:2: is not YAML: found character that cannot start any token"),
        ("a: !!python/name:os.system x", "in:1: tag 'tag:yaml.org,2002:python/name:os.system' is not supported"),
        ("a: !own [b]", "in:1: tag '!own' is not supported"),
        ("a: .inf", "in:1: .inf is not a number"),
        ("a: 1.0e+999", "in:1: number '1.0e+999' is too large"),
        ("a: " + "9" * 500, "in:1: holds a number with too many digits"),
        ("? [a]\n: b", "in:1: a key must be text"),
        ("a: *b", "in:1: alias 'b' names nothing that is complete"),
        ("a: &a [*a]", "in:1: alias 'a' names nothing that is complete"),
        ("<<: 3", "in:1: a merge key must name a mapping"),
        ("- " * 101 + "a", "in:1: is nested deeper than 100 levels"),
    ],
)
def test_what_is_refused(read: Reader, content: str | bytes, line: str) -> None:
    """One line names the file, the line where it is known, and what is wrong."""
    with pytest.raises(InvalidRequest) as refused:
        read(content)
    assert str(refused.value) == line


def test_endless_nesting_is_refused_before_it_costs_anything(read: Reader) -> None:
    """A million brackets stop at the hundredth."""
    with pytest.raises(InvalidRequest, match=r"^in:1: is nested deeper than 100 levels$"):
        read("a: " + "[" * 1_000_000)


def test_aliases_may_repeat_little(read: Reader) -> None:
    """Nine doublings by ten of a list of ten would be ten billion values."""
    letters = "abcdefghij"
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in pairwise(letters)
    )
    with pytest.raises(InvalidRequest, match=r"^in:6: aliases repeat more than 1000000 values$"):
        read(bomb)


def test_merge_keys_may_repeat_little(read: Reader) -> None:
    """The same bomb by merging mappings."""
    letters = "abcdefghij"
    bomb = "a: &a {" + ", ".join(f"k{index}: v" for index in range(10)) + "}\n"
    bomb += "".join(f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n" for old, new in pairwise(letters))
    with pytest.raises(InvalidRequest, match="aliases repeat more than 1000000 values"):
        read(bomb)


def test_aliases_cannot_hide_depth(read: Reader) -> None:
    """A chain of aliases counts like what it stands for."""
    chain = "a0: &a0 [x]\n" + "".join(f"a{index}: &a{index} [*a{index - 1}]\n" for index in range(1, 120))
    with pytest.raises(InvalidRequest, match="is nested deeper than 100 levels"):
        read(chain)


def test_large_files_are_refused(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit keeps one input from taking all memory."""
    monkeypatch.setattr(documents, "MAX_BYTES", 2**20)
    with pytest.raises(InvalidRequest, match=r"^in: is larger than 1 MiB$"):
        read(b" " * (2**20 + 1))


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    """A missing file and a folder are no input."""
    with pytest.raises(SourceUnavailable, match=r"nothere: No such file or directory$"):
        read_documents([str(tmp_path / "nothere")])
    with pytest.raises(SourceUnavailable, match=r": Is a directory$"):
        read_documents([str(tmp_path)])
