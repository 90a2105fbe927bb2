-- The options hold passwords and are not shown to everyone, so they are left out.
SELECT quote_ident(u.srvname), 'pg_user_mapping'::regclass::oid, u.umid, 0, NULL::oid, NULL::aclitem[],
       nullif(u.umuser, 0), '{}'::jsonb
FROM pg_user_mappings u
