SELECT r.qualified || '.' || quote_ident(a.attname), 'pg_class'::regclass::oid, r.oid, a.attnum::int4, NULL::oid,
       a.attacl, NULL::oid,
       jsonb_build_object(
         'type', format_type(a.atttypid, a.atttypmod),
         'not_null', a.attnotnull,
         'default', pg_get_expr(d.adbin, d.adrelid),
         'generated', nullif(a.attgenerated, ''),
         'identity', nullif(a.attidentity, ''),
         'collation', CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
         'storage', CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage END,
         'compression', nullif(a.attcompression, ''),
         'statistics', nullif(a.attstattarget, -1),
         'options', (SELECT array_agg(o ORDER BY o COLLATE "C") FROM unnest(a.attoptions) o),
         'server_options', a.attfdwoptions,
         'local', a.attislocal,
         'inherited', a.attinhcount > 0)
FROM relations r
JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE r.relkind IN ('r', 'p', 'f', 'v', 'm', 'c')
