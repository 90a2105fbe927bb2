-- Insists on uniqueness before anybody has merged the twins. No rule can know which of two customers to keep,
-- so nothing repairs this, and the run is discarded.
ALTER TABLE customers ADD CONSTRAINT customers_email_unique UNIQUE (email);
