SELECT p.oid::regprocedure::text, 'pg_proc'::regclass::oid, p.oid, 0, p.proowner,
       coalesce(p.proacl, acldefault('f', p.proowner)), NULL::oid,
       jsonb_build_object('definition', pg_get_functiondef(p.oid))
FROM pg_proc p
JOIN spaces s ON s.oid = p.pronamespace
WHERE p.prokind <> 'a'
  AND NOT EXISTS (SELECT FROM members m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
