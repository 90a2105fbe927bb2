SELECT quote_ident(s.srvname), 'pg_foreign_server'::regclass::oid, s.oid, 0, s.srvowner,
       coalesce(s.srvacl, acldefault('S', s.srvowner)), NULL::oid,
       jsonb_build_object(
         'wrapper', w.fdwname, 'type', s.srvtype, 'version', s.srvversion, 'options', s.srvoptions)
FROM pg_foreign_server s
JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
