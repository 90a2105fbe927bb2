SELECT quote_ident(s.nspname) || '.' || quote_ident(x.stxname), 'pg_statistic_ext'::regclass::oid, x.oid, 0,
       x.stxowner, NULL::aclitem[], NULL::oid,
       jsonb_build_object(
         'definition', pg_get_statisticsobjdef(x.oid),
         'target', nullif(x.stxstattarget, -1))
FROM pg_statistic_ext x
JOIN spaces s ON s.oid = x.stxnamespace
