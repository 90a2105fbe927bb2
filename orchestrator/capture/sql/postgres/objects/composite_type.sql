SELECT t.oid::regtype::text, 'pg_type'::regclass::oid, t.oid, 0, t.typowner,
       coalesce(t.typacl, acldefault('T', t.typowner)), NULL::oid,
       jsonb_build_object('columns', (
         SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
         WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))
FROM pg_type t
JOIN relations r ON r.oid = t.typrelid AND r.relkind = 'c'
