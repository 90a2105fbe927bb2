-- Whether the marker table is there, and whether the login may use it.
SELECT c.oid IS NOT NULL,
       coalesce(pg_catalog.has_schema_privilege(n.oid, 'USAGE')
                AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
                AND pg_catalog.has_table_privilege(c.oid, 'INSERT'), false)
FROM (VALUES (1)) AS one
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'forkyard'
LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'merges'
