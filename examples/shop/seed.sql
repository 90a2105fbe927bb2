-- About 100,000 rows of the dirt that real shops have. Everything follows from the row's number, so that every
-- seeding gives the same rows: the checks in experiment.yaml name exact counts.

-- 400 products.
INSERT INTO products (id, sku, title, category, price_cents)
SELECT i,
       'SKU-' || lpad(i::text, 5, '0'),
       (ARRAY['Oak', 'Steel', 'Linen', 'Glass', 'Cork', 'Wool', 'Clay', 'Brass'])[1 + i % 8] || ' ' ||
       (ARRAY['lamp', 'chair', 'mug', 'blanket', 'tray', 'vase', 'clock'])[1 + i % 7] || ' no. ' || i,
       (ARRAY['light', 'furniture', 'kitchen', 'textile', 'decoration'])[1 + i % 5],
       499 + (i * 137) % 9000
FROM generate_series(1, 400) AS i;

-- 20,000 customers: the last 1,200 are people who are there already, typed in a second time.
INSERT INTO customers (id, full_name, email, phone, country, created_at)
SELECT i,
       first_name || ' ' || last_name,
       CASE
           WHEN i <= 18800 AND i % 41 = 0 THEN NULL
           WHEN i <= 18800 AND i % 23 = 0 THEN replace(address, '@', ' at ')
           WHEN i <= 18800 AND i % 29 = 0 THEN replace(address, '@', '@@')
           WHEN i <= 18800 AND i % 37 = 0 THEN replace(address, '.example', ',example')
           WHEN i <= 18800 AND i % 199 = 0 THEN 'none'
           WHEN i > 18800 AND i % 3 = 0 THEN upper(address)
           WHEN i > 18800 AND i % 3 = 1 THEN ' ' || address
           ELSE address
       END,
       CASE
           WHEN i % 17 = 0 THEN NULL
           WHEN i % 61 = 0 THEN (ARRAY['n/a', 'unknown', 'call the office', '-'])[1 + i % 4]
           WHEN i % 10 = 5 THEN '00' || code || ' ' || left(subscriber, 3) || ' ' || substr(subscriber, 4)
           WHEN i % 10 = 6 THEN '(+' || code || ') ' || left(subscriber, 3) || '-' || substr(subscriber, 4)
           WHEN i % 10 = 7 THEN '0' || left(subscriber, 3) || '/' || substr(subscriber, 4)
           WHEN i % 50 = 8 THEN substr(subscriber, 2)
           ELSE '+' || code || subscriber
       END,
       CASE WHEN i % 13 = 0 THEN NULL ELSE country END,
       timestamptz '2021-01-01 08:00+00' + make_interval(mins => i * 97)
FROM (
    SELECT i,
           first_name,
           last_name,
           lower(first_name || '.' || last_name) || person || '@' || domain || '.example' AS address,
           countries.country,
           countries.code,
           (1510000000 + (person::bigint * 7919) % 89999999)::text AS subscriber
    FROM (
        SELECT i, CASE WHEN i <= 18800 THEN i ELSE 1 + (i * 37) % 18800 END AS person
        FROM generate_series(1, 20000) AS i
    ) AS people,
    LATERAL (
        SELECT (ARRAY['Ada', 'Ben', 'Chloe', 'Dario', 'Elif', 'Finn', 'Greta', 'Hugo', 'Ines', 'Jonas', 'Kaja', 'Luis',
                      'Mira'])[1 + person % 13] AS first_name,
               (ARRAY['Berger', 'Costa', 'Dubois', 'Evans', 'Fischer', 'Garcia', 'Hansen', 'Ivanov', 'Jones', 'Keller',
                      'Lopez'])[1 + person % 11] AS last_name,
               (ARRAY['mail', 'post', 'inbox', 'letters', 'home'])[1 + person % 5] AS domain
    ) AS names,
    LATERAL (
        SELECT (ARRAY['DE', 'GB', 'US', 'FR', 'ES'])[1 + person % 5] AS country,
               (ARRAY['49', '44', '1', '33', '34'])[1 + person % 5] AS code
    ) AS countries
) AS rows;

-- 30,000 orders: some of customers who are gone, some in currencies that nobody agreed on.
INSERT INTO orders (id, customer_id, contact_email, status, currency, total_cents, ordered_at)
SELECT i,
       CASE WHEN i % 53 = 0 THEN 900000 + i ELSE c.id END,
       CASE
           WHEN i % 106 = 0 THEN 'guest' || i || '@guests.example'
           WHEN c.email LIKE '%@%.example' AND c.email NOT LIKE '%@@%' THEN lower(trim(c.email))
       END,
       CASE WHEN i % 10 < 6 THEN 'paid' WHEN i % 10 < 8 THEN 'shipped' WHEN i % 10 = 8 THEN 'pending' ELSE 'cancelled' END,
       CASE (i / 7) % 20
           WHEN 3 THEN lower(currency)
           WHEN 7 THEN symbol
           WHEN 11 THEN ' ' || currency
           WHEN 13 THEN NULL
           WHEN 17 THEN CASE currency WHEN 'EUR' THEN 'Euro' WHEN 'USD' THEN 'dollars' ELSE 'pounds' END
           ELSE currency
       END,
       (SELECT sum((1 + (i + n) % 3) * (499 + ((1 + (i * 31 + n * 7) % 400) * 137) % 9000))
        FROM generate_series(1, CASE WHEN i % 3 = 0 THEN 1 ELSE 2 END) AS n),
       timestamptz '2024-01-01 09:00+00' + make_interval(mins => i * 23)
FROM generate_series(1, 30000) AS i
JOIN customers AS c ON c.id = 1 + (i::bigint * 7919) % 20000,
LATERAL (
    SELECT CASE 1 + c.id % 5 WHEN 2 THEN 'GBP' WHEN 3 THEN 'USD' ELSE 'EUR' END AS currency,
           CASE 1 + c.id % 5 WHEN 2 THEN '£' WHEN 3 THEN 'US$' ELSE '€' END AS symbol
) AS money;

-- 50,000 lines of those orders; their sums are the orders' totals.
INSERT INTO order_items (order_id, product_id, quantity, unit_price_cents)
SELECT i, 1 + (i * 31 + n * 7) % 400, 1 + (i + n) % 3, 499 + ((1 + (i * 31 + n * 7) % 400) * 137) % 9000
FROM generate_series(1, 30000) AS i,
     generate_series(1, CASE WHEN i % 3 = 0 THEN 1 ELSE 2 END) AS n;

SELECT setval(pg_get_serial_sequence('customers', 'id'), 20000),
       setval(pg_get_serial_sequence('products', 'id'), 400),
       setval(pg_get_serial_sequence('orders', 'id'), 30000);

ANALYZE;
