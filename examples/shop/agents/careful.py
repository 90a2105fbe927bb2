"""A careful agent: looks at the dirt, decides row by row, writes, and proposes three migrations.

It stands for any program in any language: all that it knows comes from its environment variables.

    python careful.py --confidence 0.9      how sure it must be before it completes a phone number by guessing
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import time
from pathlib import Path

import psycopg

GOOD_EMAIL = re.compile(r"[a-z0-9._-]+@[a-z0-9-]+(\.[a-z0-9-]+)+")
GOOD_PHONE = re.compile(r"\+[1-9][0-9]{7,14}")
DIALLING_CODES = {"DE": "49", "GB": "44", "US": "1", "FR": "33", "ES": "34"}
CURRENCY_OF = {"DE": "EUR", "FR": "EUR", "ES": "EUR", "GB": "GBP", "US": "USD"}
CURRENCY_WORDS = {
    "€": "EUR",
    "EURO": "EUR",
    "EUROS": "EUR",
    "£": "GBP",
    "POUNDS": "GBP",
    "US$": "USD",
    "DOLLARS": "USD",
}

MIGRATIONS = {
    "010_find_customers_by_email.sql": """\
-- Look-ups by e-mail ignore case from now on, and are fast.
CREATE INDEX customers_email_lower_idx ON customers (lower(email));
""",
    "020_known_currencies_only.sql": """\
-- New and changed orders must name a currency that the shop knows; NOT VALID leaves old rows in peace.
ALTER TABLE orders ADD CONSTRAINT orders_currency_known
    CHECK (currency IS NOT NULL AND currency IN ('EUR', 'GBP', 'USD')) NOT VALID;

CREATE VIEW revenue_by_currency AS
SELECT currency, sum(total_cents) AS total_cents, count(*) AS orders
FROM orders
WHERE status IN ('paid', 'shipped')
GROUP BY currency;
""",
    "030_orders_have_customers.sql": """\
-- No new orphans. NOT VALID, because a migration must also run where the old ones still are.
ALTER TABLE orders ADD CONSTRAINT orders_customer_exists
    FOREIGN KEY (customer_id) REFERENCES customers (id) NOT VALID;
""",
}


def repair_email(text: str) -> str | None:
    """The address that was meant, or None where nobody can tell."""
    email = text.strip().lower().replace(" at ", "@").replace("@@", "@").replace(",", ".")
    return email if GOOD_EMAIL.fullmatch(email) else None


def repair_phone(text: str, country: str | None) -> tuple[str | None, float]:
    """The number in international form and how sure we are of it (0 to 1)."""
    digits = re.sub(r"[^0-9+]", "", text)
    if len(digits) < 7:
        return None, 1.0
    if digits.startswith(("+", "00")):
        return "+" + digits.lstrip("+0"), 1.0
    code = DIALLING_CODES.get(country or "")
    if code is None:
        return None, 0.5
    return f"+{code}{digits.lstrip('0')}", 0.95 if digits.startswith("0") else 0.8


def clean_emails(shop: psycopg.Connection) -> int:
    rows = shop.execute("SELECT id, email FROM customers WHERE email IS NOT NULL").fetchall()
    fixes = [(key, repair_email(email)) for key, email in rows if not GOOD_EMAIL.fullmatch(email)]
    return write(shop, "UPDATE customers SET email = fix.value", "customers", fixes)


def clean_phones(shop: psycopg.Connection, confidence: float, dice: random.Random) -> tuple[int, int]:
    """Returns (numbers repaired, numbers left for a person)."""
    rows = shop.execute("SELECT id, phone, country FROM customers WHERE phone IS NOT NULL").fetchall()
    fixes, left = [], 0
    for key, phone, country in rows:
        if GOOD_PHONE.fullmatch(phone):
            continue
        repaired, sure = repair_phone(phone, country)
        if sure + dice.uniform(-0.1, 0.1) >= confidence:
            fixes.append((key, repaired))
        else:
            left += 1
    return write(shop, "UPDATE customers SET phone = fix.value", "customers", fixes), left


def clean_currencies(shop: psycopg.Connection) -> int:
    rows = shop.execute(
        "SELECT o.id, o.currency, c.country FROM orders AS o LEFT JOIN customers AS c ON c.id = o.customer_id"
        " WHERE o.currency IS NULL OR o.currency NOT IN ('EUR', 'GBP', 'USD')"
    ).fetchall()
    fixes = []
    for key, currency, country in rows:
        word = (currency or "").strip().upper()
        fixes.append((key, CURRENCY_WORDS.get(word, word) or CURRENCY_OF.get(country or "", "EUR")))
    return write(shop, "UPDATE orders SET currency = fix.value", "orders", fixes)


def merge_duplicates(shop: psycopg.Connection) -> int:
    """Keep the oldest record of each person, hand its orders over, and only then delete the others."""
    shop.execute(
        "CREATE TEMPORARY TABLE twins ON COMMIT DROP AS"
        " SELECT id, min(id) OVER (PARTITION BY email) AS keeper FROM customers WHERE email IS NOT NULL"
    )
    shop.execute(
        "UPDATE orders SET customer_id = twins.keeper FROM twins"
        " WHERE orders.customer_id = twins.id AND twins.id <> twins.keeper"
    )
    return shop.execute(
        "DELETE FROM customers USING twins WHERE customers.id = twins.id AND twins.id <> twins.keeper"
    ).rowcount


def adopt_orphans(shop: psycopg.Connection) -> int:
    """Give orders without a customer to the one with the same address; make one where there is none."""
    shop.execute(
        "UPDATE orders SET contact_email = 'order' || id || '@unknown.example'"
        " WHERE contact_email IS NULL AND customer_id NOT IN (SELECT id FROM customers)"
    )
    shop.execute(
        "INSERT INTO customers (full_name, email, created_at)"
        " SELECT 'Unknown customer', contact_email, min(ordered_at) FROM orders"
        " WHERE customer_id NOT IN (SELECT id FROM customers)"
        "   AND contact_email NOT IN (SELECT email FROM customers WHERE email IS NOT NULL)"
        " GROUP BY contact_email ORDER BY contact_email"
    )
    return shop.execute(
        "UPDATE orders SET customer_id = customers.id FROM customers"
        " WHERE customers.email = orders.contact_email"
        "   AND orders.customer_id NOT IN (SELECT id FROM customers)"
    ).rowcount


def write(shop: psycopg.Connection, update: str, table: str, fixes: list[tuple[int, str | None]]) -> int:
    """One UPDATE for all fixes: `update` followed by the rows (id, value) as `fix`."""
    keys, values = [key for key, _ in fixes], [value for _, value in fixes]
    query = f"{update} FROM unnest(%s::bigint[], %s::text[]) AS fix (id, value) WHERE {table}.id = fix.id"
    return shop.execute(query, [keys, values]).rowcount


def think(about: str, seconds: float = 0.3) -> None:
    """Stands for a call to a language model."""
    print(f"thinking about {about} …", flush=True)
    time.sleep(seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--confidence", type=float, default=0.9)
    confidence = parser.parse_args().confidence
    task = json.loads(os.environ["FORKYARD_TASK"])
    dice = random.Random(task.get("seed", 0))

    with psycopg.connect(os.environ["DATABASE_URL"]) as shop:
        think("malformed e-mails")
        emails = clean_emails(shop)
        think("phone numbers")
        phones, left = clean_phones(shop, confidence, dice)
        think("currencies")
        currencies = clean_currencies(shop)
        think("people who are there twice")
        merged = merge_duplicates(shop)
        think("orders without a customer")
        adopted = adopt_orphans(shop)
    print(f"{emails} e-mails, {phones} phones, {currencies} currencies repaired; {left} phones left for a person")
    print(f"{merged} people merged, {adopted} orders given to a customer")

    folder = Path(os.environ["FORKYARD_MIGRATIONS_DIR"])
    for name, text in MIGRATIONS.items():
        (folder / name).write_text(text, encoding="utf-8")
    result = {
        "metrics": {"decisions": emails + phones + currencies + merged + adopted, "left for a person": left},
        "notes": f"{left} phone numbers need a person: the country is unknown or the number is incomplete.",
    }
    Path(os.environ["FORKYARD_RESULT"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
