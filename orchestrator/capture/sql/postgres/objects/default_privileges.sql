SELECT CASE a.defaclobjtype
         WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types'
         WHEN 'n' THEN 'schemas' WHEN 'L' THEN 'large objects' ELSE a.defaclobjtype::text END
       || coalesce(' IN ' || quote_ident(n.nspname), ''),
       'pg_default_acl'::regclass::oid, a.oid, 0, NULL::oid, a.defaclacl, a.defaclrole, '{}'::jsonb
FROM pg_default_acl a
LEFT JOIN pg_namespace n ON n.oid = a.defaclnamespace
WHERE n.oid IS NULL OR n.oid IN (SELECT s.oid FROM spaces s)
