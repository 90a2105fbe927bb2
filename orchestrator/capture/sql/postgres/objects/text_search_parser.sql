SELECT quote_ident(s.nspname) || '.' || quote_ident(p.prsname), 'pg_ts_parser'::regclass::oid, p.oid, 0,
       NULL::oid, NULL::aclitem[], NULL::oid,
       jsonb_build_object('functions', jsonb_build_array(
         p.prsstart::text, p.prstoken::text, p.prsend::text, p.prsheadline::text, p.prslextype::text))
FROM pg_ts_parser p
JOIN spaces s ON s.oid = p.prsnamespace
