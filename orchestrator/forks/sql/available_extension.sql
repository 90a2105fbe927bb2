SELECT
    a.name,
    EXISTS (
        SELECT FROM pg_catalog.pg_available_extension_versions AS v
        WHERE v.name = a.name AND v.version = %(version)s
    ) AS same_version
FROM pg_catalog.pg_available_extensions AS a
WHERE a.name = %(name)s
