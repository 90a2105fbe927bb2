SELECT
    r.rolname::text AS login,
    r.rolsuper AS superuser,
    r.rolcreatedb AS may_create_databases,
    r.rolcreaterole AS may_create_roles,
    pg_catalog.current_setting('server_version_num')::int AS version,
    (SELECT s.setting FROM pg_catalog.pg_settings AS s WHERE s.name = 'data_directory') AS data_directory,
    EXISTS (
        SELECT FROM pg_catalog.pg_settings AS s WHERE s.name = 'file_copy_method' AND 'clone' = ANY (s.enumvals)
    ) AS can_clone_files
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = current_user
