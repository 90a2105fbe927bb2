"""A hasty agent: a few sweeping statements, and migrations written from memory of another database.

It stands for a Python callable: Forkyard calls `clean(env)` in a process of its own.
Its migrations do not run on Postgres as they are: one is in MySQL's dialect, one misspells a column.
Forkyard's rules repair both; the attempts are in the run's record.
"""

from __future__ import annotations

import random
import time
from typing import Any

import psycopg

MIGRATIONS = {
    "010_customer_notes.sql": """\
CREATE TABLE `customer_notes` (
  `id` INT NOT NULL AUTO_INCREMENT,
  `customer_id` BIGINT NOT NULL,
  `note` VARCHAR(255) NOT NULL DEFAULT '',
  `created_at` DATETIME DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
""",
    "020_customer_lookup.sql": """\
CREATE INDEX customers_lookup_idx ON customers (lower(emial), country);
""",
}


def clean(env: Any) -> None:
    """Lower-case what is there, cut what does not fit, delete twins without looking who refers to them."""
    dice = random.Random(env.seed)
    with psycopg.connect(env.database_url) as shop:
        trimmed = shop.execute(
            "UPDATE customers SET email = lower(trim(email)) WHERE email <> lower(trim(email))"
        ).rowcount
        time.sleep(0.4 + dice.random() / 2)
        # Ignores what it has not the patience for: a seed-dependent part of the malformed rows.
        patience = dice.randint(50, 80)
        blanked = shop.execute(
            "UPDATE customers SET phone = NULL WHERE phone !~ '^[+][1-9][0-9]{7,14}$' AND id %% 100 < %s", [patience]
        ).rowcount
        time.sleep(0.4 + dice.random() / 2)
        deleted = shop.execute(
            "DELETE FROM customers AS twin USING customers AS keeper"
            " WHERE twin.email = keeper.email AND twin.id > keeper.id"
        ).rowcount
        upper = shop.execute(
            "UPDATE orders SET currency = upper(trim(currency)) WHERE currency <> upper(trim(currency))"
        ).rowcount
    print(f"{trimmed} e-mails trimmed, {blanked} phones blanked, {deleted} twins deleted, {upper} currencies changed")

    for name, text in MIGRATIONS.items():
        (env.migrations_dir / name).write_text(text, encoding="utf-8")
    env.report(decisions=4, rows=trimmed + blanked + deleted + upper)
