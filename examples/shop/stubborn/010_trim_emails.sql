-- Runs, and is not enough: addresses that are there twice in the very same spelling stay.
UPDATE customers SET email = lower(trim(email)) WHERE email <> lower(trim(email));
