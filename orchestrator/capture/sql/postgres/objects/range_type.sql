SELECT t.oid::regtype::text, 'pg_type'::regclass::oid, t.oid, 0, t.typowner,
       coalesce(t.typacl, acldefault('T', t.typowner)), NULL::oid,
       jsonb_build_object(
         'subtype', format_type(g.rngsubtype, NULL),
         'multirange', g.rngmultitypid::regtype::text,
         'collation', CASE WHEN g.rngcollation <> 0 THEN g.rngcollation::regcollation::text END,
         'operator_class', quote_ident(n.nspname) || '.' || quote_ident(o.opcname),
         'canonical', g.rngcanonical::text,
         'difference', g.rngsubdiff::text)
FROM pg_type t
JOIN spaces s ON s.oid = t.typnamespace
JOIN pg_range g ON g.rngtypid = t.oid
JOIN pg_opclass o ON o.oid = g.rngsubopc
JOIN pg_namespace n ON n.oid = o.opcnamespace
WHERE t.typtype = 'r'
