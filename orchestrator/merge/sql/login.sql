-- What the login may do in this database.
SELECT pg_catalog.current_setting('server_version_num')::int4, pg_catalog.current_setting('server_version'),
       current_user::text, pg_catalog.current_database()::text,
       (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user),
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY'),
       pg_catalog.pg_is_in_recovery() OR pg_catalog.current_setting('default_transaction_read_only')::bool,
       pg_catalog.current_setting('server_encoding')
