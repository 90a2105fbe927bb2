SELECT quote_ident(s.nspname) || '.' || quote_ident(c.conname), 'pg_conversion'::regclass::oid, c.oid, 0,
       c.conowner, NULL::aclitem[], NULL::oid,
       jsonb_build_object(
         'from', pg_encoding_to_char(c.conforencoding),
         'to', pg_encoding_to_char(c.contoencoding),
         'function', c.conproc::text,
         'default', c.condefault)
FROM pg_conversion c
JOIN spaces s ON s.oid = c.connamespace
