-- The foreign keys that a partitioned table hands down are left out: the server names them as it likes.
-- Whether a partition's key is local and bequeathed depends on whether it was made with its parent's or attached to it.
-- `firing` tells a key whose internal triggers were switched off.
SELECT r.qualified || '.' || quote_ident(c.conname), 'pg_constraint'::regclass::oid, c.oid, 0, NULL::oid,
       NULL::aclitem[], NULL::oid,
       jsonb_build_object(
         'definition', pg_get_constraintdef(c.oid),
         'validated', c.convalidated,
         'local', c.conislocal AND c.conparentid = 0,
         'inherited', c.coninhcount > 0,
         'no_inherit', c.connoinherit AND c.conparentid = 0,
         'firing', (
           SELECT array_agg(DISTINCT g.tgenabled) FROM pg_trigger g
           WHERE g.tgconstraint = c.oid AND g.tgisinternal))
FROM pg_constraint c
JOIN relations r ON r.oid = c.conrelid
WHERE c.contype <> 't' AND NOT (c.contype = 'f' AND c.conparentid <> 0)
UNION ALL
SELECT c.contypid::regtype::text || '.' || quote_ident(c.conname), 'pg_constraint'::regclass::oid, c.oid, 0,
       NULL::oid, NULL::aclitem[], NULL::oid,
       jsonb_build_object('definition', pg_get_constraintdef(c.oid), 'validated', c.convalidated)
FROM pg_constraint c
JOIN pg_type t ON t.oid = c.contypid
JOIN spaces s ON s.oid = t.typnamespace
WHERE NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_type'::regclass AND m.objid = t.oid)
