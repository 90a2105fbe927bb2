-- What would act by itself when rows of the tables (OIDs) or of their partitions are written: the user's triggers
-- and rewrite rules that are switched on, and row security where it binds even this login. Triggers that carry
-- out constraints stay.
WITH touched AS (
    SELECT wanted.oid FROM pg_catalog.unnest(%(tables)s::oid[]) AS wanted (oid)
    UNION
    SELECT tree.relid FROM pg_catalog.unnest(%(tables)s::oid[]) AS wanted (oid)
    CROSS JOIN LATERAL pg_catalog.pg_partition_tree(wanted.oid) AS tree
)
SELECT n.nspname::text, c.relname::text, found.kind, found.name::text, found.state::text,
       pg_catalog.pg_has_role(c.relowner, 'USAGE')
FROM touched
JOIN pg_catalog.pg_class c ON c.oid = touched.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT 'trigger' AS kind, t.tgname AS name, t.tgenabled AS state
    FROM pg_catalog.pg_trigger t
    WHERE t.tgrelid = c.oid AND t.tgenabled IN ('O', 'A')
      AND (NOT t.tgisinternal OR (t.tgparentid <> 0 AND t.tgconstraint = 0))
    UNION ALL
    SELECT 'rule', r.rulename, r.ev_enabled
    FROM pg_catalog.pg_rewrite r
    WHERE r.ev_class = c.oid AND r.ev_type IN ('2', '3', '4') AND r.ev_enabled IN ('O', 'A')
    UNION ALL
    SELECT 'row security', c.relname, 'F'
    WHERE c.relrowsecurity AND c.relforcerowsecurity AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = current_user AND (r.rolsuper OR r.rolbypassrls))
) AS found
ORDER BY 1, 2, 3, 4
