SELECT quote_ident(s.nspname) || '.' || quote_ident(t.tmplname), 'pg_ts_template'::regclass::oid, t.oid, 0,
       NULL::oid, NULL::aclitem[], NULL::oid,
       jsonb_build_object('functions', jsonb_build_array(t.tmplinit::text, t.tmpllexize::text))
FROM pg_ts_template t
JOIN spaces s ON s.oid = t.tmplnamespace
