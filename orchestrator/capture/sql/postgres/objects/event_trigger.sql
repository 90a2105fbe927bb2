SELECT quote_ident(e.evtname), 'pg_event_trigger'::regclass::oid, e.oid, 0, e.evtowner, NULL::aclitem[],
       NULL::oid,
       jsonb_build_object(
         'event', e.evtevent, 'function', e.evtfoid::regprocedure::text, 'enabled', e.evtenabled,
         'tags', e.evttags)
FROM pg_event_trigger e
