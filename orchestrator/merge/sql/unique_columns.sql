-- The columns of the unique and exclusion indexes of the tables (OIDs). An index on an expression or with a predicate
-- counts with every column that it reads.
SELECT DISTINCT n.nspname::text, c.relname::text, a.attname::text
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT k.attnum::int FROM pg_catalog.unnest(i.indkey::int2[]) AS k (attnum) WHERE k.attnum > 0
    UNION
    SELECT d.refobjsubid FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indexrelid
      AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid > 0
) AS used
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = used.attnum
WHERE (i.indisunique OR i.indisexclusion) AND c.oid = ANY (%(tables)s::oid[])
ORDER BY 1, 2, 3
