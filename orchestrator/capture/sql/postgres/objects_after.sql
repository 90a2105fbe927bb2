)
SELECT o.kind, o.name,
       pg_get_userbyid(o.for_role)::text,
       pg_get_userbyid(o.owner)::text,
       (SELECT jsonb_agg(jsonb_build_array(
                 CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee)::text END,
                 a.privilege_type, a.is_grantable))
        FROM aclexplode(o.acl) a),
       (SELECT d.description
        FROM pg_description d
        WHERE d.classoid = o.classid AND d.objoid = o.objid AND d.objsubid = o.objsubid),
       (SELECT jsonb_object_agg(l.provider, l.label)
        FROM pg_seclabel l
        WHERE l.classoid = o.classid AND l.objoid = o.objid AND l.objsubid = o.objsubid),
       jsonb_strip_nulls(o.definition)
FROM objects o
WHERE NOT EXISTS (SELECT FROM members m WHERE m.classid = o.classid AND m.objid = o.objid)
   OR o.kind = 'extension'
