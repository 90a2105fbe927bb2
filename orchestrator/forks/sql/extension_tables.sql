-- Tables of extensions whose rows belong to the user's data (pg_extension_config_dump).
SELECT n.nspname AS schema, c.relname AS name
FROM pg_catalog.pg_extension AS e
CROSS JOIN LATERAL pg_catalog.unnest(e.extconfig) AS config (oid)
JOIN pg_catalog.pg_class AS c ON c.oid = config.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY 1, 2
