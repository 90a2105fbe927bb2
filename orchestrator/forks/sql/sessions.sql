-- One role's sessions in a database, and all that are just starting there. A starting session holds a lock on the
-- database before it shows in pg_stat_activity, so the locks are read first: together they miss nobody.
SELECT l.pid
FROM pg_catalog.pg_locks AS l
WHERE l.locktype = 'object' AND l.classid = 'pg_catalog.pg_database'::regclass
    AND l.objid = %(database_oid)s::oid AND l.pid <> pg_catalog.pg_backend_pid()
UNION ALL
SELECT a.pid
FROM pg_catalog.pg_stat_activity AS a
WHERE a.datid = %(database_oid)s::oid AND a.usename = %(role)s
