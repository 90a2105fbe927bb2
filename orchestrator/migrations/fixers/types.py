"""Type names: PostgreSQL's own, and what other databases call them."""

from __future__ import annotations

_COMMON_TEXT = """
    bigint bigserial bit bool boolean box bytea bpchar char character cidr circle citext date decimal float float4
    float8 inet int int2 int4 int8 integer interval json jsonb jsonpath line lseg macaddr money name numeric path
    point polygon real regclass serial serial2 serial4 serial8 smallint smallserial text time timestamp timestamptz
    timetz tsquery tsvector uuid varbit varchar xml hstore vector int4range int8range numrange tsrange tstzrange
    daterange
    """
COMMON_TYPES = frozenset(_COMMON_TEXT.split())

FOREIGN_TYPES = {
    "datetime": "timestamp",
    "datetime2": "timestamp",
    "smalldatetime": "timestamp",
    "datetimeoffset": "timestamptz",
    "timestampz": "timestamptz",
    "timestamp_tz": "timestamptz",
    "tinyint": "smallint",
    "mediumint": "integer",
    "year": "smallint",
    "double": "double precision",
    "float32": "real",
    "float64": "double precision",
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "long": "bigint",
    "number": "numeric",
    "string": "text",
    "str": "text",
    "tinytext": "text",
    "mediumtext": "text",
    "longtext": "text",
    "ntext": "text",
    "clob": "text",
    "nclob": "text",
    "nvarchar": "varchar",
    "nvarchar2": "varchar",
    "varchar2": "varchar",
    "nchar": "char",
    "blob": "bytea",
    "tinyblob": "bytea",
    "mediumblob": "bytea",
    "longblob": "bytea",
    "binary": "bytea",
    "varbinary": "bytea",
    "image": "bytea",
    "raw": "bytea",
    "uniqueidentifier": "uuid",
    "guid": "uuid",
}
"""The value is what holds every value of the foreign type, and no looser."""

KEEPS_LENGTH = frozenset(("varchar", "char", "numeric", "timestamp", "timestamptz"))
"""Of the values above: those that take the foreign type's (n) or (p, s)."""

INTEGER_TYPES = frozenset(("int", "integer", "bigint", "smallint", "tinyint", "mediumint"))


def is_type_name(text: str) -> bool:
    """Whether a word is a type's name, PostgreSQL's or foreign (any case)."""
    return text.lower() in COMMON_TYPES or text.lower() in FOREIGN_TYPES
