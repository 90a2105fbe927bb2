-- Share blocks between a database and its copy, where this server knows how (PostgreSQL 18).
SELECT pg_catalog.set_config('file_copy_method', 'clone', false)
FROM pg_catalog.pg_settings AS s
WHERE s.name = 'file_copy_method' AND 'clone' = ANY (s.enumvals)
