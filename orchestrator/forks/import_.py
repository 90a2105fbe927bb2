"""Copy a live database into a new one of the fork host: same kind of database, one neutral owner, nothing else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import class_row

from orchestrator.errors import NotPossible, PrivilegeMissing, ProviderError, TargetUnreachable
from orchestrator.forks.dump import dump, restore
from orchestrator.forks.errors import reason, translate_refusal, translated
from orchestrator.forks.host import Host, catalog_sql
from orchestrator.pgtools import PgTools, find_pg_tools
from orchestrator.secrets import redact


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDatabase:
    """What kind of database the target is."""

    version: int
    encoding: str
    properties: Mapping[str, object]
    has_public: bool
    login: str
    name: str

    @property
    def locale_options(self) -> Iterator[tuple[str, str]]:
        """CREATE DATABASE options for its locale, whatever version of PostgreSQL described it."""
        provider = {"i": "icu", "b": "builtin"}.get(str(self.properties.get("datlocprovider")), "libc")
        yield "LOCALE_PROVIDER", provider
        yield "LC_COLLATE", str(self.properties["datcollate"])
        yield "LC_CTYPE", str(self.properties["datctype"])
        locale = self.properties.get("datlocale") or self.properties.get("daticulocale")
        if provider != "libc" and locale:
            yield ("ICU_LOCALE" if provider == "icu" else "BUILTIN_LOCALE"), str(locale)
        if provider == "icu" and self.properties.get("daticurules"):
            yield "ICU_RULES", str(self.properties["daticurules"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    name: str
    schema: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One line of ALTER DATABASE … SET."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The target as it presents itself before the copy."""

    conninfo: str
    database: SourceDatabase
    extensions: tuple[Extension, ...]
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unreadable:
    schema: str
    name: str
    obstacle: str
    total: int


def look_at(conninfo: str) -> Source:
    """Read what the copy needs to know. Raises TargetUnreachable and PrivilegeMissing; changes nothing."""
    place = source_place(conninfo)
    try:
        conn = psycopg.connect(
            make_conninfo("", **{"connect_timeout": "10", **conninfo_to_dict(conninfo), "client_encoding": "utf8"}),
            autocommit=True,
        )
    except psycopg.Error as exc:
        raise translate_refusal(exc, place=place, ours=False) from exc
    with conn, translated(f"look at {place}"):
        conn.read_only = True
        conn.execute("SET search_path = pg_catalog")
        with conn.cursor(row_factory=class_row(SourceDatabase)) as cursor:
            database = cursor.execute(catalog_sql("source_database")).fetchone()
        assert database is not None
        _require_readable(conn, database)
        with conn.cursor(row_factory=class_row(Extension)) as cursor:
            extensions = tuple(cursor.execute(catalog_sql("source_extensions")))
        return Source(
            conninfo=conninfo,
            database=database,
            extensions=extensions,
            settings=database_settings(conn, database.name),
        )


def source_place(conninfo: str) -> str:
    """The target in words, without a secret. Raises TargetUnreachable where the string is malformed."""
    try:
        parts = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as exc:
        raise TargetUnreachable(f"The target's connection string is not valid: {redact(str(exc)).strip()}.") from None
    address, login = parts.get("host") or "the local socket", parts.get("user", "the default login")
    return f'the target "{parts.get("dbname", "")}" at {address} as "{login}"'


def database_settings(conn: psycopg.Connection, name: str) -> tuple[Setting, ...]:
    """What ALTER DATABASE … SET says about a database, as far as any session may change it."""
    with conn.cursor(row_factory=class_row(Setting)) as cursor:
        return tuple(cursor.execute(catalog_sql("database_settings"), {"name": name}))


def apply_settings(name: str, settings: Sequence[Setting]) -> sql.Composed:
    """Statements (one transaction) that give a database those settings, lists and quotes as they were."""
    each = sql.SQL("SELECT pg_catalog.set_config({}, {}, true); ALTER DATABASE {} SET {} FROM CURRENT")
    return sql.SQL("; ").join(
        each.format(
            sql.Literal(setting.name),
            sql.Literal(setting.value),
            sql.Identifier(name),
            sql.Identifier(*setting.name.split(".")),
        )
        for setting in settings
    )


def create_empty(conn: psycopg.Connection, name: str, source: SourceDatabase) -> None:
    """An empty database of the source's kind that nobody can connect to."""
    if source.version // 10000 > conn.info.server_version // 10000:
        raise NotPossible(
            f"The target runs PostgreSQL {source.version // 10000}, the fork host only "
            f"{conn.info.server_version // 10000}: use a fork host that is as new."
        )
    options = [sql.SQL("{} {}").format(sql.SQL(word), sql.Literal(v)) for word, v in source.locale_options]
    try:
        conn.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} {} ALLOW_CONNECTIONS false").format(
                sql.Identifier(name), sql.Literal(source.encoding), sql.SQL(" ").join(options)
            )
        )
    except (
        pg.WrongObjectType,
        pg.InvalidParameterValue,
        pg.FeatureNotSupported,
        pg.ObjectNotInPrerequisiteState,
    ) as exc:
        raise NotPossible(
            f"The fork host cannot hold a database of the target's encoding and locale: {reason(exc)}. "
            "Install that locale there, or use another fork host."
        ) from exc


def fill(host: Host, name: str, source: Source, *, owner: str, tools: PgTools | None, scratch: Path) -> None:
    """Copy the source's content into the empty database `name`, which the admin may connect to."""
    tools = tools or find_pg_tools(minimum_major=source.database.version // 10000)
    with _scratch_folder(scratch, name) as folder:
        dump(source.conninfo, folder / "dump", tools)
        made = _prepare(host, name, source, owner)
        target = make_conninfo("", **{**host.conninfo_parts, "dbname": name})
        restore(target, folder / "dump", tools, role=owner, made_schemas=made)
    with _inside(host, name) as conn:
        _wrappers(conn, "REVOKE USAGE ON FOREIGN DATA WRAPPER {} FROM {}", owner)
        if not source.database.has_public:
            conn.execute("DROP SCHEMA public")
        # Frozen rows: reading a fork writes no hint bits, so that it shares its pages with the baseline.
        conn.execute("VACUUM (FREEZE, ANALYZE)")


def _prepare(host: Host, name: str, source: Source, owner: str) -> list[str]:
    """What only the admin can make: extensions, with the schemas that they live in. Gives those schemas' names."""
    schemas = sorted({extension.schema for extension in source.extensions} - {"public", "pg_catalog"})
    with _inside(host, name) as conn:
        conn.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(owner)))
        for schema in schemas:
            conn.execute(
                sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(sql.Identifier(schema), sql.Identifier(owner))
            )
        for extension in source.extensions:
            _create_extension(conn, extension)
        _wrappers(conn, "GRANT USAGE ON FOREIGN DATA WRAPPER {} TO {}", owner)
        tables = conn.execute(catalog_sql("extension_tables")).fetchall()
        for schema, table in tables:
            conn.execute(sql.SQL("GRANT ALL ON {} TO {}").format(sql.Identifier(schema, table), sql.Identifier(owner)))
    return schemas


def _wrappers(conn: psycopg.Connection, statement: LiteralString, owner: str) -> None:
    """Foreign servers are copied, so the owner needs the wrappers during the copy; an agent must not have them."""
    for (wrapper,) in conn.execute("SELECT fdwname FROM pg_foreign_data_wrapper").fetchall():
        conn.execute(sql.SQL(statement).format(sql.Identifier(wrapper), sql.Identifier(owner)))


def _create_extension(conn: psycopg.Connection, extension: Extension) -> None:
    wanted = {"name": extension.name, "version": extension.version}
    available = conn.execute(catalog_sql("available_extension"), wanted).fetchone()
    if available is None:
        raise NotPossible(
            f'The fork host does not have the extension "{extension.name}" that the target uses: install it there.'
        )
    version = sql.SQL(" VERSION {}").format(sql.Literal(extension.version)) if available[1] else sql.SQL("")
    try:
        conn.execute(
            sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {}{}").format(
                sql.Identifier(extension.name), sql.Identifier(extension.schema), version
            )
        )
    except pg.InsufficientPrivilege as exc:
        raise PrivilegeMissing(
            f'Only a superuser of the fork host may create the extension "{extension.name}" that the target uses: '
            f'ALTER ROLE "{conn.info.user}" SUPERUSER there, or use another fork host.'
        ) from exc


def _require_readable(conn: psycopg.Connection, database: SourceDatabase) -> None:
    with conn.cursor(row_factory=class_row(_Unreadable)) as cursor:
        found = cursor.execute(catalog_sql("source_unreadable"), {}).fetchone()
    if found is None:
        return
    others = f" (and {found.total - 1} more)" if found.total > 1 else ""
    thing = f"{found.schema}.{found.name}"
    sentences = {
        "schema": (f"use the schema {found.schema}", "GRANT USAGE ON SCHEMA {schema} TO {login}"),
        "sequence": (
            f"read the sequence {thing}{others}",
            "GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {login}",
        ),
        "table": (f"read the table {thing}{others}", "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {login}"),
        "rows": (f"see all rows of {thing}{others}", "ALTER ROLE {login} BYPASSRLS"),
    }
    lacks, fix = sentences[found.obstacle]
    statement = sql.SQL(fix).format(schema=sql.Identifier(found.schema), login=sql.Identifier(database.login))
    raise PrivilegeMissing(
        f'The login "{database.login}" of the target "{database.name}" may not {lacks}: {statement.as_string(conn)}.'
    )


@contextmanager
def _inside(host: Host, name: str) -> Iterator[psycopg.Connection]:
    with host.connect(name) as conn, translated(f'prepare the baseline "{name}"'):
        yield conn


@contextmanager
def _scratch_folder(scratch: Path, name: str) -> Iterator[Path]:
    """A private folder for one attempt; what earlier attempts (killed ones too) left is removed first."""
    try:
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in scratch.glob(f"{name}.*"):
            shutil.rmtree(old, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=scratch))
    except OSError as exc:
        raise ProviderError(f"Could not use the scratch folder {scratch}: {exc.strerror}.") from exc
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
