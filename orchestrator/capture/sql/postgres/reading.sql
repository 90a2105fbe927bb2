-- A database may have defaults of its own for every one of these, set by whoever wrote to it.
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL row_security = off;
SET LOCAL quote_all_identifiers = off;
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL lock_timeout = '30s';
SET LOCAL jit = off;
