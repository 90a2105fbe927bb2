SELECT r.qualified || '.' || quote_ident(w.rulename), 'pg_rewrite'::regclass::oid, w.oid, 0, NULL::oid,
       NULL::aclitem[], NULL::oid,
       jsonb_build_object('definition', pg_get_ruledef(w.oid), 'enabled', w.ev_enabled)
FROM pg_rewrite w
JOIN relations r ON r.oid = w.ev_class
WHERE w.rulename <> '_RETURN'
