-- Whether a materialized view is filled is data, not schema.
SELECT r.qualified, 'pg_class'::regclass::oid, r.oid, 0, r.relowner,
       coalesce(r.relacl, acldefault('r', r.relowner)), NULL::oid,
       jsonb_build_object(
         'kind', r.relkind,
         'definition', pg_get_viewdef(r.oid),
         'options', (SELECT array_agg(o ORDER BY o COLLATE "C") FROM unnest(r.reloptions) o),
         'access_method', (SELECT a.amname FROM pg_am a WHERE a.oid = r.relam),
         'tablespace', (SELECT t.spcname FROM pg_tablespace t WHERE t.oid = r.reltablespace))
FROM relations r
WHERE r.relkind IN ('v', 'm')
