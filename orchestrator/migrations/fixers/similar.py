"""When two names are surely meant to be the same, and when they only look alike.

Names are compared part by part (`created_at` has two parts), because names that differ in one whole part are
different things: created_at and updated_at, min_price and max_price.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+|[^A-Za-z0-9_\s-]+")


def the_one(wrong: str, candidates: Iterable[str]) -> str | None:
    """The candidate that is surely meant: same letters but for case and separators, else one slip away.

    None when there is no such candidate, or more than one.
    """
    names = sorted(set(candidates) - {wrong})
    for matches in (_same_letters, _same_but_number, _one_slip):
        found = [name for name in names if matches(wrong, name)]
        if found:
            return found[0] if len(found) == 1 and _is_nearest(wrong, found[0], names) else None
    return None


def _is_nearest(wrong: str, chosen: str, names: list[str]) -> bool:
    """No other name is as near by its letters: user_name stands as near to usrname as username does."""
    distance = slip_distance(_letters(wrong), _letters(chosen))
    rivals = [name for name in names if name != chosen and name[:1].lower() == wrong[:1].lower()]
    others = (slip_distance(_letters(wrong), _letters(name)) for name in rivals)
    return all(other > distance for other in others)


def slip_distance(a: str, b: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours that turn a into b."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        after = [i]
        for j, y in enumerate(b, 1):
            cost = min(row[j] + 1, after[j - 1] + 1, row[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                cost = min(cost, before[j - 2] + 1)
            after.append(cost)
        before, row = row, after
    return row[-1]


def _letters(name: str) -> str:
    return re.sub(r"[_\s-]", "", name).lower()


def _same_letters(a: str, b: str) -> bool:
    return _letters(a) == _letters(b)


def _same_but_number(a: str, b: str) -> bool:
    """customer and customers, category and categories: singular against plural in any part."""
    return _singular(a) == _singular(b)


def _singular(name: str) -> tuple[str, ...]:
    return tuple(_one(part) for part in _split(name))


def _one(part: str) -> str:
    if part.endswith("ies") and len(part) > 4:
        return part[:-3] + "y"
    if part.endswith(("ses", "xes", "ches", "shes")) and len(part) > 4:
        return part[:-2]
    return part[:-1] if part.endswith("s") and not part.endswith("ss") and len(part) > 3 else part


def _split(name: str) -> list[str]:
    return [part.lower() for part in _PARTS.findall(name)]


def _one_slip(a: str, b: str) -> bool:
    left, right = _split(a), _split(b)
    if len(left) != len(right):
        return len(_letters(a)) >= 8 and _close(_letters(a), _letters(b))
    wrong = [(x, y) for x, y in zip(left, right, strict=True) if x != y]
    return len(wrong) == 1 and _close(*wrong[0])


def _close(a: str, b: str) -> bool:
    """One slip in a word of four letters, two in eight; the first letter stands; short words never swap letters.

    `net` and `new`, `sent` and `send` are different words, so up to four letters only a missing, doubled or
    misplaced letter counts as a slip.
    """
    if not a.isalpha() or not b.isalpha() or a[0] != b[0] or min(len(a), len(b)) < 3:
        return False
    distance = slip_distance(a, b)
    if max(len(a), len(b)) <= 4:
        return distance == 1 and (len(a) != len(b) or sorted(a) == sorted(b))
    return distance == 1 or (distance == 2 and min(len(a), len(b)) >= 8)
