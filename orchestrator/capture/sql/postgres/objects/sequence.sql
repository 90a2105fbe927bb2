-- Its parameters and its owner column; its position is data.
SELECT r.qualified, 'pg_class'::regclass::oid, r.oid, 0, r.relowner,
       coalesce(r.relacl, acldefault('s', r.relowner)), NULL::oid,
       jsonb_build_object(
         'type', format_type(q.seqtypid, NULL),
         'start', q.seqstart::text,
         'increment', q.seqincrement::text,
         'minimum', q.seqmin::text,
         'maximum', q.seqmax::text,
         'cache', q.seqcache::text,
         'cycle', q.seqcycle,
         'persistence', r.relpersistence,
         'owned_by', (
           SELECT d.refobjid::regclass::text || '.' || quote_ident(a.attname)
                  || CASE d.deptype WHEN 'i' THEN ' (identity)' ELSE '' END
           FROM pg_depend d
           JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
           WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.objsubid = 0
             AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')))
FROM relations r
JOIN pg_sequence q ON q.seqrelid = r.oid
