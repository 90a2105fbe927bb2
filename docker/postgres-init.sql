-- Runs once, when the volume is new, as the server's superuser. Two logins with what they need and no more; agents'
-- logins, which the second one makes, can connect to their own forks only.
\getenv registry_password FORKYARD_REGISTRY__PASSWORD
\getenv fork_host_password FORKYARD_FORK_HOST__PASSWORD

CREATE ROLE forkyard_registry LOGIN PASSWORD :'registry_password';
CREATE ROLE forkyard_host LOGIN CREATEDB CREATEROLE PASSWORD :'fork_host_password';

CREATE DATABASE forkyard OWNER forkyard_registry;
REVOKE ALL ON DATABASE forkyard, postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO forkyard_host;
