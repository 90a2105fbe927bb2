from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from orchestrator.experiments.document import MAX_BYTES, read_document


def read(folder: Path, content: str | bytes) -> object:
    path = folder / "experiment.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_document(path)


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (b"", None, "empty"),
        (b"\n \n", None, "empty"),
        (b"# nothing but this\n", None, "only comments"),
        (b"a: 1\nb: caf\xe9\n", 2, "not UTF-8"),
        ("a: 1".encode("utf-16"), 1, "not UTF-8"),
        (b"a:\n\tb: 1\n", 2, "tab"),
        (b"a:\n  b: 1\n\tc: 2\n", 3, "tab"),
        (b"a: 1\na: 2\n", 2, "the key 'a' is here twice (first in line 1)"),
        (b"a: {b: 1, b: 2}\n", 1, "'b' is here twice"),
        (b"a: 1\n---\nb: 2\n", 2, "more than one YAML document"),
        (b"a: b: c\n", 1, "quotes"),
        (b"a: [1, 2\n", 2, "not valid YAML"),
        (b"a: *nobody\n", 1, "not valid YAML"),
        (
            b"a: !!python/object/apply:os.system [id]\n",
            1,
            "the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed",
        ),
        (b"a: !secret x\n", 1, "tag"),
        (b"yes: 1\n", 1, "the key yes is not text"),
        (b"? [a]\n: 1\n", 1, "a key must be plain text"),
        (b"a: .nan\n", 1, "not a finite number"),
        (b"a: " + b"9" * 5000 + b"\n", 1, "usable number"),
        (b'a: "x\\0y"\n', 1, "cannot be stored"),
        (b'a: "\\ud800"\n', 1, "cannot be stored"),
        (b"a: 1\nb: \x07\n", 2, "control character"),
        (b"&a a: &b\n  c: *b\n", 1, "contains itself"),
        (b"a: &b\n  c:\n    <<: *b\n", 3, "'<<' must name another mapping"),
        (b"a: " + b"[" * 3000 + b"]" * 3000, None, "nested deeper"),
        (b"a: " + b"[" * 100 + b"]" * 100, 1, "nested deeper"),
        (b"a: '" + b"x" * MAX_BYTES + b"'", None, "larger than 1 MB"),
    ],
)
def test_a_broken_file_is_one_sentence_with_its_line(
    tmp_path: Path, content: bytes, line: int | None, says: str
) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, content)
    assert caught.value.line == line
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "experiment.yaml") + (f":{line}: " if line else ": "))
    assert "\n" not in str(caught.value)


def test_an_alias_bomb_is_refused_quickly(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 30)
    )
    start = time.monotonic()
    with pytest.raises(SpecError, match="more than 20000 values"):
        read(tmp_path, bomb)
    assert time.monotonic() - start < 5


def test_a_merge_key_bomb_is_refused(tmp_path: Path) -> None:
    bomb = "a0: &a0 {x: 1}\n" + "".join(
        f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, 30)
    )
    with pytest.raises(SpecError, match="'<<' must name another mapping"):
        read(tmp_path, bomb)


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no such file"):
        read_document(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match="this is a directory"):
        read_document(tmp_path)
    with pytest.raises(SpecError, match="cannot be read"):
        read_document(tmp_path / ("x" * 300))


def test_every_key_and_item_has_its_line(tmp_path: Path) -> None:
    document = read_document(_file(tmp_path, "# comment\na: 1\nb:\n  - x\n  - c:\n      d: 2\n"))
    assert document.values == {"a": 1, "b": ["x", {"c": {"d": 2}}]}
    assert [document.line(path) for path in [("a",), ("b",), ("b", 1), ("b", 1, "c", "d")]] == [2, 3, 5, 6]
    assert document.line(("b", 1, "c", "missing")) == 5


def test_merge_keys_give_defaults_that_own_keys_replace(tmp_path: Path) -> None:
    document = read_document(_file(tmp_path, "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n"))
    assert document.values == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}
    assert document.line(("b", "y")) == 4


def test_dates_stay_text_and_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    document = read_document(_file(tmp_path, "\ufeffa: 2024-02-31\n"))
    assert document.values == {"a": "2024-02-31"}


def _file(folder: Path, text: str) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    return path
