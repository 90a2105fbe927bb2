SELECT r.qualified || '.' || quote_ident(p.polname), 'pg_policy'::regclass::oid, p.oid, 0, NULL::oid,
       NULL::aclitem[], NULL::oid,
       jsonb_build_object(
         'command', p.polcmd,
         'permissive', p.polpermissive,
         'roles', (
           SELECT jsonb_agg(CASE u.role WHEN 0 THEN NULL ELSE pg_get_userbyid(u.role)::text END)
           FROM unnest(p.polroles) AS u(role)),
         'using', pg_get_expr(p.polqual, p.polrelid),
         'check', pg_get_expr(p.polwithcheck, p.polrelid))
FROM pg_policy p
JOIN relations r ON r.oid = p.polrelid
