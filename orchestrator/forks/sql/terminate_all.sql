-- End all sessions in one database that this login may end.
SELECT pg_catalog.pg_terminate_backend(a.pid)
FROM pg_catalog.pg_stat_activity AS a
WHERE a.datname = %(name)s AND a.pid <> pg_catalog.pg_backend_pid() AND a.backend_type = 'client backend'
    AND pg_catalog.pg_has_role(a.usesysid, 'USAGE')
