SELECT quote_ident(l.lanname), 'pg_language'::regclass::oid, l.oid, 0, l.lanowner,
       coalesce(l.lanacl, acldefault('l', l.lanowner)), NULL::oid,
       jsonb_build_object(
         'procedural', l.lanispl,
         'trusted', l.lanpltrusted,
         'handler', CASE WHEN l.lanplcallfoid <> 0 THEN l.lanplcallfoid::regprocedure::text END,
         'inline', CASE WHEN l.laninline <> 0 THEN l.laninline::regprocedure::text END,
         'validator', CASE WHEN l.lanvalidator <> 0 THEN l.lanvalidator::regprocedure::text END)
FROM pg_language l
WHERE l.oid >= 16384
