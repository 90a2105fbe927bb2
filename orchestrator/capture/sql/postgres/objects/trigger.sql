SELECT r.qualified || '.' || quote_ident(g.tgname), 'pg_trigger'::regclass::oid, g.oid, 0, NULL::oid,
       NULL::aclitem[], NULL::oid,
       jsonb_build_object('definition', pg_get_triggerdef(g.oid), 'enabled', g.tgenabled)
FROM pg_trigger g
JOIN relations r ON r.oid = g.tgrelid
WHERE NOT g.tgisinternal
