-- Those that the current role may change: what it cannot open is not its doing.
SELECT m.oid, encode(sha256(lo_get(m.oid)), 'hex')
FROM pg_largeobject_metadata m
WHERE pg_has_role(m.lomowner, 'USAGE')
ORDER BY m.oid
