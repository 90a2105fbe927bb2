-- The members stand as one hash: an object taken out of an extension, or put into one, shows.
SELECT quote_ident(e.extname), 'pg_extension'::regclass::oid, e.oid, 0, NULL::oid, NULL::aclitem[], NULL::oid,
       jsonb_build_object(
         'version', e.extversion,
         'schema', n.nspname,
         'members', (
           SELECT encode(sha256(convert_to(string_agg(
                    i.type || ' ' || i.identity, E'\n'
                    ORDER BY i.type COLLATE "C", i.identity COLLATE "C"), 'UTF8')), 'hex')
           FROM pg_depend d, LATERAL pg_identify_object(d.classid, d.objid, 0) i
           WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'))
FROM pg_extension e
JOIN pg_namespace n ON n.oid = e.extnamespace
