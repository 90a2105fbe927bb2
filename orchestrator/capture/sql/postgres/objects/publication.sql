-- Whole rows, because the columns differ between server versions. A subscription is not the database's own
-- (a clone does not carry it), so it has no file here.
SELECT quote_ident(p.pubname), 'pg_publication'::regclass::oid, p.oid, 0, p.pubowner, NULL::aclitem[], NULL::oid,
       (to_jsonb(p) - '{oid,pubname,pubowner}'::text[]) || jsonb_build_object(
         'tables', (
           SELECT jsonb_agg(jsonb_build_array(
                    r.prrelid::regclass::text,
                    pg_get_expr(r.prqual, r.prrelid),
                    (SELECT array_agg(a.attname::text ORDER BY a.attname COLLATE "C") FROM pg_attribute a
                     WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)))
                  ORDER BY r.prrelid::regclass::text COLLATE "C")
           FROM pg_publication_rel r WHERE r.prpubid = p.oid),
         'schemas', (
           SELECT jsonb_agg(n.nspname ORDER BY n.nspname COLLATE "C")
           FROM pg_publication_namespace x JOIN pg_namespace n ON n.oid = x.pnnspid WHERE x.pnpubid = p.oid))
FROM pg_publication p
