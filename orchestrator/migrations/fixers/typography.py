"""Characters that word processors and chat windows put in place of plain ones: curly quotes, hard spaces."""

from __future__ import annotations

from orchestrator.migrations.fixers.base import Fix, FixContext
from orchestrator.migrations.fixers.text import Edit, rewrite
from orchestrator.migrations.lexer import Kind, Token, next_token

_OUTSIDE = (Kind.WORD, Kind.PUNCTUATION, Kind.OPERATOR)
_STATES = (None, "42601", "42703", "42P01", "42704", "42883")
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u2033", '"'),
        **dict.fromkeys("\u00a0\u2007\u202f\u2009\u2002\u2003\u3000", " "),
        **dict.fromkeys("\u200b\u200c\u200d\ufeff\u2060", ""),
        "\uff0c": ",",
        "\uff1b": ";",
        "\uff08": "(",
        "\uff09": ")",
        "\u2264": "<=",
        "\u2265": ">=",
        "\u2260": "<>",
    }
)


_PAIRS = {"\u2018": ("\u2019", "'"), "\u201c": ("\u201d", '"'), "\u201e": ("\u201c", '"')}


def repair(context: FixContext) -> Fix | None:
    """Outside of quotes and comments only: within them any character may be meant."""
    if context.error.sqlstate not in _STATES:
        return None
    text, at = context.sql, 0
    while at < len(text):
        token = next_token(text, at)
        if token.kind in _OUTSIDE and token.text.translate(_PLAIN) != token.text:
            text = _plain(text, token)
            # What stands there now may be the start of a quote: it is read again.
            continue
        at = token.end
    return Fix(sql=text, note="replaced typographic characters by plain ones") if text != context.sql else None


def _plain(text: str, token: Token) -> str:
    first = next(i for i in range(token.start, token.end) if text[i].translate(_PLAIN) != text[i])
    close, quote = _PAIRS.get(text[first], ("", ""))
    end = text.find(close, first + 1) if close else -1
    if end < 0:
        return rewrite(text, [Edit(first, first + 1, text[first].translate(_PLAIN))])
    body = text[first + 1 : end].replace(quote, quote * 2)
    return rewrite(text, [Edit(first, end + 1, f"{quote}{body}{quote}")])
