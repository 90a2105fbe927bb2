"""A YAML file as plain values plus the line of every key, so that a mistake can be shown where it stands.

Safe by construction: no tags beyond YAML's own scalars, no file above 1 MB, no alias that grows beyond 20,000
values, no duplicate keys. Dates stay text; numbers must be finite, so that every value is also valid JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from orchestrator.errors import SpecError

MAX_BYTES = 1_000_000
MAX_VALUES = 20_000
MAX_DEPTH = 40

ValuePath = tuple[str | int, ...]

_MERGE = "tag:yaml.org,2002:merge"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_COLLECTIONS = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_SCALARS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """`values` as plain dicts, lists and scalars; `lines` maps a path such as ("variants", "a") to its line."""

    file: str
    values: object
    lines: dict[ValuePath, int]

    def line(self, path: ValuePath) -> int:
        """The line of the value at `path`, or of the nearest thing around it that has one."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return self.lines.get((), 1)

    def error(self, path: ValuePath, message: str) -> SpecError:
        """One sentence on one line, whatever the file's own text in it holds."""
        return SpecError(" ".join(message.split()), file=self.file, line=self.line(path))


def read_document(path: Path) -> Document:
    """Read and check the file. Raises SpecError with file, line and what to do for anything that is wrong."""
    file = str(path)
    text = _decode(_read(path, file), file)
    node = _compose(text, file)
    walk = _Walk(file=file)
    values = walk.value(node, (), ())
    return Document(file=file, values=values, lines=walk.lines)


def _read(path: Path, file: str) -> bytes:
    try:
        if path.is_dir():
            raise SpecError("this is a directory; name the experiment file in it, such as experiment.yaml", file=file)
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SpecError("there is no such file", file=file) from None
    except (OSError, ValueError) as exc:
        raise SpecError(f"the file cannot be read: {getattr(exc, 'strerror', None) or exc}", file=file) from exc
    if len(data) > MAX_BYTES:
        raise SpecError("the file is larger than 1 MB; keep data in the folder named by 'files'", file=file)
    return data


def _decode(data: bytes, file: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise SpecError("the file is not UTF-8 text; save it as UTF-8", file=file, line=line) from None
    if not text.strip():
        raise SpecError("the file is empty; `forkyard run --help` shows an example", file=file)
    return text


def _compose(text: str, file: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = mark.line + 1 if mark else None
        raise SpecError(_syntax_problem(exc, text, line), file=file, line=line) from None
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        raise SpecError("a control character is in the file; remove it", file=file, line=line) from None
    except RecursionError:
        raise SpecError(f"values are nested deeper than {MAX_DEPTH} levels", file=file) from None
    except (yaml.YAMLError, ValueError) as exc:
        raise SpecError(f"this is not valid YAML: {' '.join(str(exc).split())}", file=file) from None
    if node is None:
        raise SpecError("the file holds only comments; `forkyard run --help` shows an example", file=file)
    return node


def _syntax_problem(exc: yaml.MarkedYAMLError, text: str, line: int | None) -> str:
    lines = text.splitlines()
    shown = lines[line - 1] if line and line <= len(lines) else ""
    if "\t" in shown[: len(shown) - len(shown.lstrip())] or "'\\t'" in str(exc.problem):
        return "a tab is used as indentation; YAML wants spaces"
    if exc.context and "expected a single document" in exc.context:
        return "there is more than one YAML document ('---'); keep one experiment per file"
    if "mapping values are not allowed" in str(exc.problem):
        return "there is a ':' where none can be; put the text in quotes, or check the indentation"
    return f"this is not valid YAML: {exc.problem or exc.context}"


def _tag_problem(node: yaml.Node) -> str:
    return f"the tag {node.tag!r} is not allowed; use plain text, numbers, lists and mappings"


@dataclass(slots=True, kw_only=True)
class _Walk:
    """Turns nodes into values, counting them, so that aliases cannot blow up."""

    file: str
    lines: dict[ValuePath, int] = field(default_factory=dict)
    seen: int = 0
    scalars: yaml.SafeLoader = field(default_factory=lambda: yaml.SafeLoader(""))

    def value(self, node: yaml.Node, path: ValuePath, above: tuple[int, ...]) -> object:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self.seen += 1
        if id(node) in above:
            raise self._error(node, "an alias ('*') contains itself")
        if self.seen > MAX_VALUES:
            raise self._error(node, f"there are more than {MAX_VALUES} values (aliases count each time)")
        if len(above) > MAX_DEPTH:
            raise self._error(node, f"values are nested deeper than {MAX_DEPTH} levels")
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
            raise self._error(node, _tag_problem(node))
        inner = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, inner)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index), inner) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: ValuePath, above: tuple[int, ...]) -> dict[str, object]:
        found: dict[str, object] = {}
        for base in self._merged(node, above):
            for key, value in self._mapping(base, path, (*above, id(base))).items():
                found.setdefault(key, value)
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self._key(key_node)
            line = key_node.start_mark.line + 1
            if key in first:
                raise self._error(key_node, f"the key '{key}' is here twice (first in line {first[key]})")
            first[key] = self.lines[(*path, key)] = line
            found[key] = self.value(value_node, (*path, key), above)
        return found

    def _merged(self, node: yaml.MappingNode, above: tuple[int, ...]) -> Iterator[yaml.MappingNode]:
        """The mappings that `<<: *alias` takes in."""
        for key_node, value_node in node.value:
            if key_node.tag != _MERGE:
                continue
            bases = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            for base in bases:
                self.seen += 1
                if not isinstance(base, yaml.MappingNode) or id(base) in above or self.seen > MAX_VALUES:
                    raise self._error(key_node, "'<<' must name another mapping, such as '<<: *defaults'")
                yield base

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "a key must be plain text")
        if node.tag != "tag:yaml.org,2002:str":
            shown = node.value or "(empty)"
            raise self._error(node, f"the key {shown} is not text for YAML; put it in quotes: '{shown}'")
        return self._text(node)

    def _scalar(self, node: yaml.Node) -> object:
        if node.tag == _TIMESTAMP or node.tag == "tag:yaml.org,2002:str":
            return self._text(node)
        if node.tag not in _SCALARS:
            raise self._error(node, _tag_problem(node))
        try:
            value: object = self.scalars.construct_object(node)
        except (ValueError, OverflowError):
            raise self._error(node, f"{node.value[:40]!r} is not a usable number; put text in quotes") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(node, f"{node.value!r} is not a finite number")
        return value

    def _text(self, node: yaml.Node) -> str:
        text = str(node.value)
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            raise self._error(node, "the text holds a character that cannot be stored (NUL or half a surrogate pair)")
        return text

    def _error(self, node: yaml.Node, message: str) -> SpecError:
        return SpecError(" ".join(message.split()), file=self.file, line=node.start_mark.line + 1)
