SELECT c.oid::regconfig::text, 'pg_ts_config'::regclass::oid, c.oid, 0, c.cfgowner, NULL::aclitem[], NULL::oid,
       jsonb_build_object(
         'parser', (
           SELECT quote_ident(n.nspname) || '.' || quote_ident(p.prsname)
           FROM pg_ts_parser p JOIN pg_namespace n ON n.oid = p.prsnamespace WHERE p.oid = c.cfgparser),
         'mappings', (
           SELECT jsonb_agg(jsonb_build_array(m.maptokentype, m.mapseqno, m.mapdict::regdictionary::text)
                  ORDER BY m.maptokentype, m.mapseqno)
           FROM pg_ts_config_map m WHERE m.mapcfg = c.oid))
FROM pg_ts_config c
JOIN spaces s ON s.oid = c.cfgnamespace
