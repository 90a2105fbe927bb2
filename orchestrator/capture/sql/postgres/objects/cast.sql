-- 16384 is the first identity that a server gives to what its users make; below are the built-in casts.
SELECT format_type(c.castsource, NULL) || ' AS ' || format_type(c.casttarget, NULL),
       'pg_cast'::regclass::oid, c.oid, 0, NULL::oid, NULL::aclitem[], NULL::oid,
       jsonb_build_object(
         'function', CASE WHEN c.castfunc <> 0 THEN c.castfunc::regprocedure::text END,
         'context', c.castcontext,
         'method', c.castmethod)
FROM pg_cast c
WHERE c.oid >= 16384
