-- The columns of the tables (schemas, names), in the table's order: the type and the type below its domains without
-- modifiers, and the schema of that type's own equality operator where it has one. A default counts as computed
-- when it holds a call or a keyword such as CURRENT_TIMESTAMP, once literals and type modifiers are taken away.
SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind = 'p', a.attname::text,
       pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.format_type(below.oid, -1),
       (SELECT opn.nspname::text FROM pg_catalog.pg_operator o
        JOIN pg_catalog.pg_namespace opn ON opn.oid = o.oprnamespace
        WHERE o.oprname = '=' AND o.oprleft = below.oid AND o.oprright = below.oid ORDER BY o.oid LIMIT 1),
       a.attgenerated::text, a.attidentity::text,
       coalesce(a.attgenerated = '' AND pg_catalog.regexp_replace(
           pg_catalog.pg_get_expr(d.adbin, d.adrelid), '''([^'']|'''')*''|::[a-z" ]+\([0-9, ]+\)', '', 'g')
           ~ '(\(|\mCURRENT_|\mLOCALTIME|\mSESSION_USER)', false)
FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS wanted (schema_name, table_name)
JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.schema_name
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.table_name AND c.relkind IN ('r', 'p')
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL (
    WITH RECURSIVE chain AS (
        SELECT t.oid, t.typbasetype FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid
        UNION ALL
        SELECT t.oid, t.typbasetype FROM chain JOIN pg_catalog.pg_type t ON t.oid = chain.typbasetype
    )
    SELECT chain.oid FROM chain WHERE chain.typbasetype = 0
) AS below
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C", a.attnum
