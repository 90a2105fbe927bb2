-- What the login cannot read, or would see only a part of: pg_dump would fail halfway.
SELECT
    n.nspname AS schema,
    c.relname AS name,
    CASE
        WHEN NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE') THEN 'schema'
        WHEN c.relkind = 'S' THEN 'sequence'
        WHEN pg_catalog.has_table_privilege(c.oid, 'SELECT') THEN 'rows'
        ELSE 'table'
    END AS obstacle,
    count(*) OVER () AS total
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S', 'm', 'f')
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'forkyard')
    AND n.nspname NOT LIKE 'pg\_toast%%' AND n.nspname NOT LIKE 'pg\_temp\_%%'
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend AS p
        WHERE p.classid = 'pg_catalog.pg_class'::regclass AND p.objid = c.oid AND p.deptype = 'e'
    )
    AND (
        NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE')
        OR c.relkind <> 'S' AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')
        OR c.relkind = 'S' AND NOT pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
        OR c.relkind IN ('r', 'p') AND pg_catalog.row_security_active(c.oid)
    )
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
LIMIT 1
