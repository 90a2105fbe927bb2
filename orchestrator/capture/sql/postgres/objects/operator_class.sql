SELECT quote_ident(s.nspname) || '.' || quote_ident(o.opcname) || ' USING ' || quote_ident(a.amname),
       'pg_opclass'::regclass::oid, o.oid, 0, o.opcowner, NULL::aclitem[], NULL::oid,
       jsonb_build_object(
         'family', quote_ident(n.nspname) || '.' || quote_ident(f.opfname),
         'type', format_type(o.opcintype, NULL),
         'stored_type', CASE WHEN o.opckeytype <> 0 THEN format_type(o.opckeytype, NULL) END,
         'default', o.opcdefault)
FROM pg_opclass o
JOIN spaces s ON s.oid = o.opcnamespace
JOIN pg_am a ON a.oid = o.opcmethod
JOIN pg_opfamily f ON f.oid = o.opcfamily
JOIN pg_namespace n ON n.oid = f.opfnamespace
