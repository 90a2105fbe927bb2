-- What exists under one name: the database (with its stamp) and the role.
SELECT
    d.oid AS database_oid,
    pg_catalog.shobj_description(d.oid, 'pg_database') AS database_stamp,
    d.datistemplate AS is_template,
    d.datallowconn AS admits_sessions,
    r.oid AS role_oid,
    pg_catalog.shobj_description(r.oid, 'pg_authid') AS role_stamp
FROM (SELECT %(name)s::text AS name) AS wanted
LEFT JOIN pg_catalog.pg_database AS d ON d.datname = wanted.name
LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = wanted.name
