SELECT p.oid::regprocedure::text, 'pg_proc'::regclass::oid, p.oid, 0, p.proowner,
       coalesce(p.proacl, acldefault('f', p.proowner)), NULL::oid,
       jsonb_build_object(
         'arguments', pg_get_function_arguments(p.oid),
         'parallel', p.proparallel,
         'kind', g.aggkind,
         'direct_arguments', g.aggnumdirectargs,
         'transition', jsonb_build_array(
           g.aggtransfn::text, format_type(g.aggtranstype, NULL), g.aggtransspace, g.agginitval),
         'final', jsonb_build_array(g.aggfinalfn::text, g.aggfinalextra, g.aggfinalmodify),
         'parallel_functions', jsonb_build_array(
           g.aggcombinefn::text, g.aggserialfn::text, g.aggdeserialfn::text),
         'moving', jsonb_build_array(
           g.aggmtransfn::text, g.aggminvtransfn::text, format_type(g.aggmtranstype, NULL), g.aggmtransspace,
           g.aggminitval, g.aggmfinalfn::text, g.aggmfinalextra, g.aggmfinalmodify),
         'sort_operator', CASE WHEN g.aggsortop <> 0 THEN g.aggsortop::regoperator::text END)
FROM pg_proc p
JOIN pg_aggregate g ON g.aggfnoid = p.oid
JOIN spaces s ON s.oid = p.pronamespace
