-- End the sessions of one role in one database.
SELECT pg_catalog.pg_terminate_backend(a.pid)
FROM pg_catalog.pg_stat_activity AS a
WHERE a.datid = %(database_oid)s::oid AND a.usename = %(role)s
