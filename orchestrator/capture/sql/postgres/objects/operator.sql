SELECT o.oid::regoperator::text, 'pg_operator'::regclass::oid, o.oid, 0, o.oprowner, NULL::aclitem[], NULL::oid,
       jsonb_build_object(
         'function', o.oprcode::text,
         'result', CASE WHEN o.oprresult <> 0 THEN format_type(o.oprresult, NULL) END,
         'commutator', CASE WHEN o.oprcom <> 0 THEN o.oprcom::regoperator::text END,
         'negator', CASE WHEN o.oprnegate <> 0 THEN o.oprnegate::regoperator::text END,
         'restrict', o.oprrest::text,
         'join', o.oprjoin::text,
         'merges', o.oprcanmerge,
         'hashes', o.oprcanhash)
FROM pg_operator o
JOIN spaces s ON s.oid = o.oprnamespace
