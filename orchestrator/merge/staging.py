"""Edits on their way into a table: staged by COPY in a temporary table, then joined to the rows by key.

Staged columns have the plain type of the table's column, so that texts go through the types' own input functions:
casts from text may be anybody's code, and domains may forbid the NULLs of columns that an edit leaves alone.
Two values are the same when the type says so *and* their canonical texts agree: `1.0` is not `1.00` here, and an
index can still be used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from orchestrator.merge.catalog import Column, Table, TableName, identifier
from orchestrator.merge.session import Connection

Row = Mapping[str, str | None]
Key = tuple[str, ...]

_TEXT = sql.SQL("text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A temporary table `pg_temp.<name>`: `forkyard_n` (the row's place), then columns named like the table's."""

    name: str

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier("pg_temp", self.name)


def put(
    conn: Connection,
    name: str,
    columns: Sequence[Column],
    rows: Iterable[Sequence[str | None]],
    *,
    typed: bool = True,
    extra: Sequence[str] = (),
) -> Stage:
    """Stage the rows (values of `columns`, then of the text columns `extra`), replacing a stage of that name."""
    stage = Stage(name=name)
    parts: list[sql.Composable] = [sql.SQL("forkyard_n int4 NOT NULL")]
    parts += [sql.SQL("{} {}").format(sql.Identifier(c.name), c.staged_type if typed else _TEXT) for c in columns]
    parts += [sql.SQL("{} text").format(sql.Identifier(name)) for name in extra]
    conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(stage.identifier))
    conn.execute(sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(stage.identifier, _commas(parts)))
    with conn.cursor() as cursor, cursor.copy(sql.SQL("COPY {} FROM STDIN").format(stage.identifier)) as copy:
        for n, row in enumerate(rows):
            copy.write_row((n, *row))
    conn.execute(sql.SQL("ANALYZE {}").format(stage.identifier))
    return stage


def rows_by_key(
    conn: Connection, table: Table, key_columns: Sequence[str], keys: Sequence[Key], *, typed: bool = True
) -> dict[Key, Row]:
    """The table's present rows under these keys, generated columns left out.

    `typed=False` compares keys by their texts alone, for keys of another type than the table's.
    """
    if not keys:
        return {}
    columns = [table.columns[name] for name in key_columns]
    stage = put(conn, "forkyard_keys", columns, keys, typed=typed)
    found = read_rows(
        conn, table, sql.SQL("JOIN {} AS e ON {}").format(stage.identifier, same_key(columns, typed=typed))
    )
    return {tuple(row[name] or "" for name in key_columns): row for row in found}


def read_rows(conn: Connection, table: Table, rest: sql.Composable) -> list[Row]:
    """The rows of `table` AS t that `rest` (joins and conditions) leaves, as canonical texts."""
    names = [column.name for column in table.columns.values() if not column.generated]
    query = sql.SQL("COPY (SELECT {} FROM {} AS t {}) TO STDOUT").format(
        _commas(sql.Identifier("t", name) for name in names), table.rows, rest
    )
    with conn.cursor() as cursor, cursor.copy(query) as copy:
        copy.set_types(["text"] * len(names))
        return [dict(zip(names, row, strict=True)) for row in copy.rows()]


def same_key(columns: Sequence[Column], *, typed: bool = True) -> sql.Composed:
    """The condition that a table's row t and a staged row e have the same key."""
    parts: list[sql.Composable] = []
    for column in columns:
        left, right = sql.Identifier("t", column.name), sql.Identifier("e", column.name)
        if typed:
            parts.append(sql.SQL("{} {} {}").format(left, column.equals, right))
        parts.append(sql.SQL("{} OPERATOR(pg_catalog.=) {}").format(_printed(left), _printed(right)))
    return sql.SQL(" AND ").join(parts)


def delete(conn: Connection, table: Table, key_columns: Sequence[str], stage: Stage) -> int:
    """Delete the rows with a staged key; gives their number."""
    query = sql.SQL("DELETE FROM {} AS t USING {} AS e WHERE {}").format(
        table.rows, stage.identifier, same_key([table.columns[name] for name in key_columns])
    )
    return conn.execute(query).rowcount


def update(
    conn: Connection,
    table: Table,
    key_columns: Sequence[str],
    stage: Stage,
    touched: Sequence[str],
    only: Sequence[str],
    *,
    sparing: Sequence[str] = (),
) -> int:
    """Set those of the columns `only` that a staged row's mask names; gives the number of rows.

    The mask is the text column `forkyard_mask`, one digit a column of `touched`. Rows whose mask names a column of
    `sparing` are left alone.
    """
    sets = [
        sql.SQL("{} = {}").format(sql.Identifier(name), _changed(name, touched)) for name in touched if name in only
    ]
    query = sql.SQL("UPDATE {} AS t SET {} FROM {} AS e WHERE {} AND NOT {}").format(
        table.rows,
        _commas(sets),
        stage.identifier,
        same_key([table.columns[name] for name in key_columns]),
        _names_one_of(sparing, touched),
    )
    return conn.execute(query).rowcount


def take_out(
    conn: Connection,
    table: Table,
    key_columns: Sequence[str],
    stage: Stage,
    touched: Sequence[str],
    naming: Sequence[str],
) -> Stage:
    """Delete the staged rows whose mask names a column of `naming`; they are kept, updated, for `put_back`."""
    moved = Stage(name="forkyard_moved")
    values = [
        sql.SQL("{} AS {}").format(
            _changed(c.name, touched) if c.name in touched else sql.Identifier("t", c.name), sql.Identifier(c.name)
        )
        for c in table.columns.values()
        if not c.generated
    ]
    match = sql.SQL("{} AND {}").format(
        same_key([table.columns[name] for name in key_columns]), _names_one_of(naming, touched)
    )
    conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(moved.identifier))
    conn.execute(
        sql.SQL(
            "CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT e.forkyard_n, {} FROM {} AS t JOIN {} AS e ON {}"
        ).format(moved.identifier, _commas(values), table.rows, stage.identifier, match)
    )
    conn.execute(sql.SQL("DELETE FROM {} AS t USING {} AS e WHERE {}").format(table.rows, stage.identifier, match))
    return moved


def insert(conn: Connection, table: Table, columns: Sequence[str], stage: Stage) -> int:
    """Insert the staged rows with exactly their values, identity columns included; gives their number."""
    query = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} AS e ORDER BY e.forkyard_n").format(
        identifier(table.name),
        _commas(sql.Identifier(name) for name in columns),
        _commas(sql.Identifier("e", name) for name in columns),
        stage.identifier,
    )
    return conn.execute(query).rowcount


def missing_copies(conn: Connection, table: Table, columns: Sequence[str], stage: Stage) -> list[tuple[int, int]]:
    """For a table without a key: (place of a staged row, number of its copies that the table lacks)."""
    query = sql.SQL(
        "SELECT want.n, want.copies - coalesce(have.copies, 0) FROM ("
        " SELECT {staged} AS content, min(e.forkyard_n) AS n, count(*)::int4 AS copies"
        " FROM {stage} AS e GROUP BY 1) AS want"
        " LEFT JOIN (SELECT {present} AS content, count(*)::int4 AS copies FROM {table} AS t GROUP BY 1) AS have"
        " ON have.content = want.content WHERE want.copies > coalesce(have.copies, 0) ORDER BY want.n"
    ).format(staged=_content("e", columns), present=_content("t", columns), stage=stage.identifier, table=table.rows)
    return [(n, copies) for n, copies in conn.execute(query).fetchall()]


def delete_copies(conn: Connection, table: Table, columns: Sequence[str], stage: Stage) -> int:
    """For a table without a key: delete one physical row of equal content per staged row; gives their number."""
    query = sql.SQL(
        "WITH want AS (SELECT {staged} AS content, count(*) AS copies FROM {stage} AS e GROUP BY 1),"
        " have AS (SELECT t.tableoid AS part, t.ctid AS place, {present} AS content,"
        " row_number() OVER (PARTITION BY {present}) AS copy FROM {table} AS t)"
        " DELETE FROM {table} AS t USING have JOIN want ON want.content = have.content AND have.copy <= want.copies"
        " WHERE t.tableoid = have.part AND t.ctid = have.place"
    ).format(staged=_content("e", columns), present=_content("t", columns), stage=stage.identifier, table=table.rows)
    return conn.execute(query).rowcount


def remember_keys(conn: Connection, name: str, table: Table, key_columns: Sequence[str]) -> Stage:
    """Keep the keys that the table holds now, to tell later which rows came after."""
    stage = Stage(name=name)
    conn.execute(
        sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} AS t").format(
            stage.identifier,
            _commas(
                sql.SQL("{} AS {}").format(_printed(sql.Identifier("t", c)), sql.Identifier(c)) for c in key_columns
            ),
            table.rows,
        )
    )
    conn.execute(sql.SQL("ANALYZE {}").format(stage.identifier))
    return stage


def rows_beyond(conn: Connection, table: Table, key_columns: Sequence[str], remembered: Stage | None) -> list[Row]:
    """The table's rows whose key is not among the remembered; all of them for None."""
    if remembered is None:
        return read_rows(conn, table, sql.SQL(""))
    columns = [table.columns[name] for name in key_columns]
    rest = sql.SQL("WHERE NOT EXISTS (SELECT FROM {} AS e WHERE {})").format(
        remembered.identifier, same_key(columns, typed=False)
    )
    return read_rows(conn, table, rest)


def referencing(
    conn: Connection,
    *,
    parent: Table,
    parent_key: Sequence[str],
    parent_columns: Sequence[str],
    deleted: Stage,
    child: TableName,
    child_columns: Sequence[str],
    child_deleted: tuple[Stage, Sequence[Column]] | None,
    limit: int,
) -> list[tuple[str | None, ...]]:
    """Values of foreign keys (texts) that still point to rows about to be deleted, by rows that stay."""
    join = sql.SQL(" AND ").join(
        sql.SQL("{} {} {}").format(
            sql.Identifier("c", ours), parent.columns[theirs].equals, sql.Identifier("t", theirs)
        )
        for ours, theirs in zip(child_columns, parent_columns, strict=True)
    )
    stays: sql.Composable = sql.SQL("")
    if child_deleted is not None:
        stage, columns = child_deleted
        stays = sql.SQL(" AND NOT EXISTS (SELECT FROM {} AS d WHERE {})").format(
            stage.identifier,
            sql.SQL(" AND ").join(
                sql.SQL("{} = {}").format(_printed(sql.Identifier("c", k.name)), _printed(sql.Identifier("d", k.name)))
                for k in columns
            ),
        )
    query = sql.SQL(
        "SELECT {values} FROM {deleted} AS e JOIN {parent} AS t ON {key} JOIN {child} AS c ON {join}{stays}"
        " LIMIT {limit}"
    ).format(
        values=_commas(_printed(sql.Identifier("c", name)) for name in child_columns),
        deleted=deleted.identifier,
        parent=parent.rows,
        key=same_key([parent.columns[name] for name in parent_key]),
        child=identifier(child),
        join=join,
        stays=stays,
        limit=sql.Literal(limit),
    )
    return list(conn.execute(query).fetchall())


def _printed(value: sql.Composable) -> sql.Composed:
    """What the type's output function prints for a value that is not NULL."""
    return sql.SQL("(pg_catalog.format('%s', {}) COLLATE pg_catalog.\"C\")").format(value)


def _changed(name: str, touched: Sequence[str]) -> sql.Composed:
    """The staged value of a column where the mask names it, else the row's own."""
    return sql.SQL("CASE WHEN {m} THEN e.{c} ELSE t.{c} END").format(
        m=_names_one_of([name], touched), c=sql.Identifier(name)
    )


def _names_one_of(names: Sequence[str], touched: Sequence[str]) -> sql.Composed:
    digits: list[sql.Composable] = [
        sql.SQL("pg_catalog.substr(e.forkyard_mask, {}, 1) = '1'").format(sql.Literal(place))
        for place, name in enumerate(touched, start=1)
        if name in names
    ]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(digits or [sql.SQL("false")]))


def _content(alias: str, columns: Sequence[str]) -> sql.Composed:
    """A whole row as one text, NULL and empty told apart."""
    return _printed(sql.SQL("ROW({})").format(_commas(sql.Identifier(alias, name) for name in columns)))


def _commas(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
