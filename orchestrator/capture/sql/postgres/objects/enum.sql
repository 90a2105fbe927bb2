SELECT t.oid::regtype::text, 'pg_type'::regclass::oid, t.oid, 0, t.typowner,
       coalesce(t.typacl, acldefault('T', t.typowner)), NULL::oid,
       jsonb_build_object('labels', (
         SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
FROM pg_type t
JOIN spaces s ON s.oid = t.typnamespace
WHERE t.typtype = 'e'
