SELECT d.oid::regdictionary::text, 'pg_ts_dict'::regclass::oid, d.oid, 0, d.dictowner, NULL::aclitem[],
       NULL::oid,
       jsonb_build_object(
         'template', (
           SELECT quote_ident(n.nspname) || '.' || quote_ident(t.tmplname)
           FROM pg_ts_template t JOIN pg_namespace n ON n.oid = t.tmplnamespace WHERE t.oid = d.dicttemplate),
         'options', d.dictinitoption)
FROM pg_ts_dict d
JOIN spaces s ON s.oid = d.dictnamespace
