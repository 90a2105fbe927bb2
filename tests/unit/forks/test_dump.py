from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orchestrator import errors as ours
from orchestrator.forks.dump import complaint, dump, entries
from orchestrator.pgtools import PgTools

LISTING = """\
;
; Archive created at 2026-01-01
;     dbname: shop
2; 3079 16385 EXTENSION - hstore app
3344; 0 0 COMMENT - EXTENSION hstore app
6; 2615 16390 SCHEMA - extras app
7; 2615 16391 SCHEMA - sales app
220; 1259 16400 TABLE public orders app
221; 1259 16401 TABLE public EXTENSION app
3350; 0 16400 TABLE DATA public orders app
3351; 3466 16500 EVENT TRIGGER - no_drop app
3352; 0 0 COMMENT - EVENT TRIGGER no_drop app
3353; 1417 16501 SERVER - elsewhere app
3354; 1418 16502 USER MAPPING - USER MAPPING app SERVER elsewhere app
3355; 6104 16503 PUBLICATION - everything app
3356; 6106 16504 PUBLICATION TABLE public everything orders app
3357; 0 0 COMMENT public TABLE orders app
"""


def test_a_baseline_leaves_out_what_the_admin_makes_and_what_leads_out_of_a_fork() -> None:
    kept = [line for line in entries(LISTING, ["extras"]) if not line.startswith(";")]
    assert [line.split(";")[0] for line in kept] == ["7", "220", "221", "3350", "3353", "3357"]


def test_a_schema_that_nobody_made_beforehand_stays_in() -> None:
    assert any("SCHEMA - extras" in line for line in entries(LISTING))


@pytest.mark.parametrize(
    ("text", "expected", "piece"),
    [
        (
            "pg_dump: error: query failed: ERROR:  permission denied for table secrets",
            ours.PrivilegeMissing,
            "permission denied for table secrets",
        ),
        (
            'pg_restore: error: could not execute query: ERROR:  role "auditor" does not exist\nCommand was: x',
            ours.NotPossible,
            'CREATE ROLE "auditor" NOLOGIN',
        ),
        (
            "pg_dump: error: aborting because of server version mismatch",
            ours.NotPossible,
            "client programs",
        ),
        (
            "pg_dump: error: could not write to file: No space left on device",
            ours.CapacityExceeded,
            "Free space",
        ),
        (
            "pg_dump: error: query would be affected by row-level security policy for table t",
            ours.PrivilegeMissing,
            "BYPASSRLS",
        ),
        ('pg_dump: error: connection to server at "x" failed: refused', ours.TargetUnreachable, "refused"),
        ("pg_dump: error: ERROR:  canceling statement due to lock timeout", ours.ProviderUnavailable, "locked"),
        ("pg_restore: error: something new", ours.ProviderError, "something new"),
        ("", ours.ProviderError, "said nothing"),
    ],
)
def test_complaints_of_the_client_programs_become_one_sentence_of_ours(
    text: str, expected: type[ours.ForkyardError], piece: str
) -> None:
    error = complaint(text, doing="copy the target", unreachable=ours.TargetUnreachable)
    assert type(error) is expected
    assert piece in str(error)
    assert "\n" not in str(error)


def test_a_complaint_shows_no_password() -> None:
    text = "pg_dump: error: postgresql://app:hunter2@db/shop is not reachable"
    assert "hunter2" not in str(complaint(text, doing="x", unreachable=ours.TargetUnreachable))


def test_a_password_reaches_pg_dump_by_environment_and_never_as_an_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-for-pg-dump")
    program = _program(tmp_path, 'printf "%s\\n" "$*" > "$0.args"; env > "$0.env"')
    dump("postgresql://app:hunter2@db.invalid:5433/shop", tmp_path / "out", _tools(program))
    arguments, environment = (Path(f"{program}.{kind}").read_text() for kind in ("args", "env"))
    assert "hunter2" not in arguments
    assert "host=db.invalid" in arguments
    assert "PGPASSWORD=hunter2" in environment
    assert "not-for-pg-dump" not in environment


def test_another_secret_in_the_connection_string_is_refused_rather_than_shown(tmp_path: Path) -> None:
    program = _program(tmp_path, "exit 0")
    with pytest.raises(ours.NotPossible, match="sslpassword"):
        dump("host=db dbname=shop sslpassword=hunter2", tmp_path / "out", _tools(program))


def test_a_program_that_does_not_start_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ours.ProviderError, match="does not start"):
        dump("dbname=shop", tmp_path / "out", _tools(tmp_path / "missing"))


def _program(folder: Path, body: str) -> Path:
    program = folder / "pg_dump"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert os.access(program, os.X_OK)
    return program


def _tools(program: Path) -> PgTools:
    return PgTools(pg_dump=program, pg_restore=program, psql=program, version=(18, 0))
