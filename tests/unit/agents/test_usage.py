from __future__ import annotations

from pathlib import Path

from orchestrator.agents.usage import folder_bytes


def test_all_files_below_a_folder_count(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "one").write_bytes(b"x" * 100_000)
    (tmp_path / "two").write_bytes(b"x" * 50_000)
    assert 150_000 <= folder_bytes(tmp_path, stop_above=1 << 30) <= 170_000


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "big").write_bytes(b"x" * 100_000)
    (tmp_path / "inside" / "file").symlink_to(tmp_path / "big")
    (tmp_path / "inside" / "folder").symlink_to(tmp_path)
    assert folder_bytes(tmp_path / "inside", stop_above=1 << 30) < 10_000


def test_a_file_counts_as_large_as_it_claims_to_be(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10_000_000)
    assert folder_bytes(tmp_path, stop_above=1 << 30) == 10_000_000


def test_a_missing_folder_holds_nothing(tmp_path: Path) -> None:
    assert folder_bytes(tmp_path / "absent", stop_above=1) == 0
