-- The tables of the current role that hide rows from it; a superuser or BYPASSRLS role sees all anyway.
SELECT n.nspname, c.relname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relforcerowsecurity
  AND c.relrowsecurity
  AND c.relkind IN ('r', 'p')
  AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_roles r
    WHERE r.rolname = current_user AND (r.rolsuper OR r.rolbypassrls))
ORDER BY n.nspname, c.relname
