-- Everything CREATE DATABASE must be told to make a database of the same kind. The row as JSON, because its columns
-- differ between versions of PostgreSQL.
SELECT
    current_setting('server_version_num')::int AS version,
    pg_catalog.pg_encoding_to_char(d.encoding) AS encoding,
    pg_catalog.to_jsonb(d) AS properties,
    pg_catalog.to_regnamespace('public') IS NOT NULL AS has_public,
    current_user::text AS login,
    d.datname::text AS name
FROM pg_catalog.pg_database AS d
WHERE d.datname = pg_catalog.current_database()
