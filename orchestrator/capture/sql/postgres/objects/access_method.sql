SELECT quote_ident(a.amname), 'pg_am'::regclass::oid, a.oid, 0, NULL::oid, NULL::aclitem[], NULL::oid,
       jsonb_build_object('type', a.amtype, 'handler', a.amhandler::text)
FROM pg_am a
WHERE a.oid >= 16384
