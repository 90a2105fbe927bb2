-- What ALTER DATABASE ... SET says about a database; a copy does not carry it. Only settings that any session may
-- change anyway: the others would need a superuser and could weaken the boundary around agents.
SELECT pg_catalog.split_part(setting.line, '=', 1) AS name,
    pg_catalog.substr(setting.line, pg_catalog.strpos(setting.line, '=') + 1) AS value
FROM pg_catalog.pg_db_role_setting AS s
JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS setting (line)
WHERE d.datname = %(name)s AND s.setrole = 0
    AND pg_catalog.split_part(setting.line, '=', 1) NOT IN ('role', 'session_authorization')
    AND (
        pg_catalog.strpos(pg_catalog.split_part(setting.line, '=', 1), '.') > 0
        OR pg_catalog.split_part(setting.line, '=', 1) IN (SELECT g.name FROM pg_catalog.pg_settings AS g WHERE g.context = 'user')
    )
ORDER BY 1
