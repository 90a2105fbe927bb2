SELECT quote_ident(s.nspname) AS name, 'pg_namespace'::regclass::oid AS classid, s.oid AS objid, 0 AS objsubid,
       s.nspowner AS owner, coalesce(s.nspacl, acldefault('n', s.nspowner)) AS acl, NULL::oid AS for_role,
       '{}'::jsonb AS definition
FROM spaces s
