SELECT format_type(t.trftype, NULL) || ' FOR ' || quote_ident(l.lanname),
       'pg_transform'::regclass::oid, t.oid, 0, NULL::oid, NULL::aclitem[], NULL::oid,
       jsonb_build_object(
         'from_sql', CASE WHEN t.trffromsql <> 0 THEN t.trffromsql::regprocedure::text END,
         'to_sql', CASE WHEN t.trftosql <> 0 THEN t.trftosql::regprocedure::text END)
FROM pg_transform t
JOIN pg_language l ON l.oid = t.trflang
