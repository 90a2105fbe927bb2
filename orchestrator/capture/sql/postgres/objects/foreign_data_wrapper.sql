SELECT quote_ident(w.fdwname), 'pg_foreign_data_wrapper'::regclass::oid, w.oid, 0, w.fdwowner,
       coalesce(w.fdwacl, acldefault('F', w.fdwowner)), NULL::oid,
       jsonb_build_object(
         'handler', CASE WHEN w.fdwhandler <> 0 THEN w.fdwhandler::regprocedure::text END,
         'validator', CASE WHEN w.fdwvalidator <> 0 THEN w.fdwvalidator::regprocedure::text END,
         'options', w.fdwoptions)
FROM pg_foreign_data_wrapper w
