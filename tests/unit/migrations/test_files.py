"""Reading the migrations folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import MigrationError
from orchestrator.migrations.files import natural_key, read_folder


def test_files_come_in_the_order_a_person_counts(tmp_path: Path) -> None:
    for name in ("10_b.sql", "2_a.sql", "1.sql", "notes.txt", ".hidden.sql", "V3__x.SQL"):
        (tmp_path / name).write_text("SELECT 1;")
    assert [m.name for m in read_folder(tmp_path)] == ["1.sql", "2_a.sql", "10_b.sql", "V3__x.SQL"]


def test_names_with_odd_digits_can_be_ordered() -> None:
    assert sorted(["²a", "1a", "a1", ""], key=natural_key)[0] == ""


def test_a_missing_folder_is_an_empty_one(tmp_path: Path) -> None:
    assert read_folder(tmp_path / "none") == ()


def test_links_and_folders_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "dir.sql").mkdir()
    (tmp_path / "link.sql").symlink_to("/etc/passwd")
    assert read_folder(tmp_path) == ()


def test_a_byte_order_mark_is_not_part_of_the_sql(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_bytes(b"\xef\xbb\xbfSELECT 1;\r\n")
    assert read_folder(tmp_path)[0].sql == "SELECT 1;\r\n"


@pytest.mark.parametrize(
    ("content", "says"), [(b"SELECT '\xff';", "UTF-8"), (b"SELECT '\0';", "NUL"), (b"x" * 101, "100 bytes")]
)
def test_an_unreadable_file_is_refused_by_name(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "bad.sql").write_bytes(content)
    with pytest.raises(MigrationError, match=says) as caught:
        read_folder(tmp_path, limit_bytes=100)
    assert "bad.sql" in str(caught.value)
