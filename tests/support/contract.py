"""The contract as a text that people review: every service, message and enumeration with what is on the wire of it.

`make protos-listing` writes it to protos/contract.txt; tests/repo/test_protos.py says what may change there.
"""

import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor

PROTOS = Path(__file__).parents[2] / "protos"
LISTING = PROTOS / "contract.txt"
RELEASES = "v[0-9]*"

_SCALARS = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in dir(FieldDescriptor)
    if name.startswith("TYPE_")
}


def listing() -> str:
    """The contract as generated: a heading for each thing in the order of names, below it its parts by number."""
    parts = [*_services(), *_messages(), *_enums()]
    return "\n".join(line for each in sorted(parts) for line in each) + "\n"


def broken(before: str, now: str) -> list[str]:
    """What an old reader or writer would miss: `heading: part` of everything that is not there as it was."""
    return sorted(_facts(before) - _facts(now))


def released(root: Path = PROTOS.parent) -> dict[str, str]:
    """Version tag → the contract as it was there, of all versions this checkout comes from; empty without git."""
    tags = _git(root, "tag", "--list", RELEASES, "--merged", "HEAD").split()
    return {tag: _git(root, "show", f"{tag}:protos/contract.txt") for tag in tags}


def _git(root: Path, *words: str) -> str:
    if not (root / ".git").exists():
        return ""
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout


def _facts(text: str) -> set[str]:
    heading, found = "", set()
    for line in text.splitlines():
        if not line.startswith(" "):
            heading = line
        found.add(f"{heading}: {line.strip()}" if line.startswith(" ") else heading)
    return found


def _files() -> Iterator[object]:
    for path in sorted(PROTOS.rglob("*.proto")):
        module = ".".join([*path.relative_to(PROTOS).parent.parts, f"{path.stem}_pb2"])
        yield import_module(module).DESCRIPTOR


def _services() -> Iterator[list[str]]:
    for file in _files():
        for service in file.services_by_name.values():  # type: ignore[attr-defined]
            yield [f"service {service.full_name}", *sorted(f"  {_method(method)}" for method in service.methods)]


def _messages() -> Iterator[list[str]]:
    for file in _files():
        for message in file.message_types_by_name.values():  # type: ignore[attr-defined]
            for each in _nested(message):
                fields = sorted(each.fields, key=lambda field: field.number)
                yield [f"message {each.full_name}", *(f"  {_field(field)}" for field in fields)]


def _enums() -> Iterator[list[str]]:
    for file in _files():
        outer = file.enum_types_by_name.values()  # type: ignore[attr-defined]
        messages = file.message_types_by_name.values()  # type: ignore[attr-defined]
        inner = (enum for message in messages for each in _nested(message) for enum in each.enum_types)
        yield from map(_enum, [*outer, *inner])


def _nested(message: Descriptor) -> Iterator[Descriptor]:
    """The message and those inside it; the entries of maps are no messages of their own."""
    yield message
    for each in message.nested_types:
        if not each.GetOptions().map_entry:
            yield from _nested(each)


def _enum(enum: EnumDescriptor) -> list[str]:
    values = sorted(enum.values, key=lambda value: value.number)
    return [f"enum {enum.full_name}", *(f"  {value.number} {value.name}" for value in values)]


def _method(method: MethodDescriptor) -> str:
    asked, told = ("stream " if streams else "" for streams in (method.client_streaming, method.server_streaming))
    return f"{method.name}({asked}{method.input_type.full_name}) {told}{method.output_type.full_name}"


def _field(field: FieldDescriptor) -> str:
    words = [str(field.number), field.name, _type(field)]
    oneof = field.containing_oneof
    if oneof is not None and field.has_presence:
        words.append("optional" if oneof.name == f"_{field.name}" else f"in {oneof.name}")
    return " ".join(words)


def _type(field: FieldDescriptor) -> str:
    message, enum = field.message_type, field.enum_type
    if message is not None and message.GetOptions().map_entry:
        return f"map<{_type(message.fields_by_name['key'])}, {_type(message.fields_by_name['value'])}>"
    named = message or enum
    name = _SCALARS[field.type] if named is None else named.full_name
    return f"repeated {name}" if field.is_repeated else name


if __name__ == "__main__":
    LISTING.write_text(listing(), encoding="utf-8")
