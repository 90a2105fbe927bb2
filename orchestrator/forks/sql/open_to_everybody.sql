-- Databases that any login may connect to, agents' logins included.
SELECT d.datname::text
FROM pg_catalog.pg_database AS d
WHERE d.datallowconn
    AND (
        d.datacl IS NULL
        OR EXISTS (
            SELECT FROM pg_catalog.aclexplode(d.datacl) AS a
            WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT'
        )
    )
ORDER BY d.datname COLLATE "C"
