SELECT t.oid::regtype::text, 'pg_type'::regclass::oid, t.oid, 0, t.typowner,
       coalesce(t.typacl, acldefault('T', t.typowner)), NULL::oid,
       jsonb_build_object(
         'type', format_type(t.typbasetype, t.typtypmod),
         'not_null', t.typnotnull,
         'default', t.typdefault,
         'collation', CASE WHEN t.typcollation <> b.typcollation THEN t.typcollation::regcollation::text END)
FROM pg_type t
JOIN spaces s ON s.oid = t.typnamespace
JOIN pg_type b ON b.oid = t.typbasetype
WHERE t.typtype = 'd'
