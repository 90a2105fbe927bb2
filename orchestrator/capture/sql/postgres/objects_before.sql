-- Every file of objects/ gives rows of one kind: name, classid, objid, objsubid, owner, acl, for_role, definition.
-- Names come out qualified because the session's search_path holds pg_catalog alone.
WITH spaces AS MATERIALIZED (
  SELECT n.oid, n.nspname, n.nspowner, n.nspacl
  FROM pg_namespace n
  WHERE n.nspname <> 'information_schema'
    AND left(n.nspname, 3) <> 'pg_'
    AND n.nspname <> ALL (%(ignored)s::text[])
), members AS MATERIALIZED (
  SELECT d.classid, d.objid FROM pg_depend d WHERE d.deptype = 'e'
), relations AS MATERIALIZED (
  SELECT c.*, c.oid::regclass::text AS qualified
  FROM pg_class c
  JOIN spaces s ON s.oid = c.relnamespace
  WHERE NOT EXISTS (
    SELECT FROM members m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
), objects AS (
