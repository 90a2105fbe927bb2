-- End the agents' sessions that wait for data in the middle of a COPY.
SELECT pg_catalog.pg_terminate_backend(a.pid)
FROM pg_catalog.pg_stat_activity AS a
WHERE a.state = 'active' AND a.wait_event_type = 'Client' AND a.wait_event = 'ClientRead'
    AND a.usename ~ '^fy_[0-9a-f]{8}_f[0-9]+$' AND pg_catalog.pg_has_role(a.usesysid, 'USAGE')
