"""An agent that breaks half-way: what it has written stays in its own fork, and goes with it."""

from __future__ import annotations

import time
from typing import Any

import psycopg


def clean(env: Any) -> None:
    with psycopg.connect(env.database_url, autocommit=True) as shop:
        gone = shop.execute("DELETE FROM order_items WHERE quantity = 1").rowcount
        print(f"{gone} order lines deleted, they looked unimportant", flush=True)
        time.sleep(1.0)
        shop.execute("UPDATE orders SET total_cents = 0")
        totals = shop.execute("SELECT total_cents FROM orders LIMIT 5").fetchall()
    average = sum(total for (total,) in totals) / len([total for (total,) in totals if total])
    print(f"the average order is {average}")
