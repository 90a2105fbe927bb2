-- Databases and roles whose name begins as those of the installation do; which are ours is decided by the caller.
SELECT 'database' AS kind, d.datname AS name, pg_catalog.shobj_description(d.oid, 'pg_database') AS stamp
FROM pg_catalog.pg_database AS d
WHERE pg_catalog.starts_with(d.datname::text, %(prefix)s)
UNION ALL
SELECT 'role', r.rolname, pg_catalog.shobj_description(r.oid, 'pg_authid')
FROM pg_catalog.pg_roles AS r
WHERE pg_catalog.starts_with(r.rolname::text, %(prefix)s)
ORDER BY 2, 1
