SELECT quote_ident(s.nspname) || '.' || quote_ident(f.opfname) || ' USING ' || quote_ident(a.amname),
       'pg_opfamily'::regclass::oid, f.oid, 0, f.opfowner, NULL::aclitem[], NULL::oid,
       jsonb_build_object(
         'operators', (
           SELECT jsonb_agg(jsonb_build_array(m.amopstrategy, m.amopopr::regoperator::text, m.amoppurpose)
                  ORDER BY m.amopstrategy, m.amopopr::regoperator::text COLLATE "C")
           FROM pg_amop m WHERE m.amopfamily = f.oid),
         'functions', (
           SELECT jsonb_agg(jsonb_build_array(
                    m.amprocnum, format_type(m.amproclefttype, NULL), format_type(m.amprocrighttype, NULL),
                    m.amproc::regprocedure::text)
                  ORDER BY m.amprocnum, format_type(m.amproclefttype, NULL) COLLATE "C",
                           format_type(m.amprocrighttype, NULL) COLLATE "C")
           FROM pg_amproc m WHERE m.amprocfamily = f.oid))
FROM pg_opfamily f
JOIN spaces s ON s.oid = f.opfnamespace
JOIN pg_am a ON a.oid = f.opfmethod
