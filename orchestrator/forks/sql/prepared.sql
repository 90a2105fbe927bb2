SELECT p.gid, p.owner FROM pg_catalog.pg_prepared_xacts AS p WHERE p.database = %(name)s
