"""The grammar of cells: what the old program made of a text, by the type that is wanted.

Blank cells, ``nan``, ``na``, ``null`` and ``none`` in any case mean "not stated". Lists and dicts are written as in
Python, their words without quotes; a list's brackets may be missing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

_NOTHING = {"", "nan", "na", "null", "none"}
_TRUE = {"true", "1", "1.0", "yes"}
_FALSE = {"false", "0", "0.0", "no"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BRACKETS = {"[": "]", "(": ")", "{": "}"}


class NotThis(ValueError):
    """A text that is not of the wanted type; the message says what was expected."""


def is_blank(value: Any) -> bool:
    """Does a cell state nothing?

    Example:
        >>> is_blank(" NaN "), is_blank(0)
        (True, False)
    """
    return value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING)


def split(text: str, separator: str = ",") -> list[str]:
    """Parts between separators outside brackets, without the spaces around them.

    Raises:
        NotThis: a bracket that is never closed, or closed without being opened.

    Example:
        >>> split("{1:0,2:1},None, [a,b]")
        ['{1:0,2:1}', 'None', '[a,b]']
    """
    parts, start, open_brackets = [], 0, []
    for position, letter in enumerate(text):
        if letter in _BRACKETS:
            open_brackets.append(_BRACKETS[letter])
        elif letter in _BRACKETS.values() and (not open_brackets or open_brackets.pop() != letter):
            raise NotThis(f"brackets that match, up to the '{letter}' at place {position + 1}")
        elif letter == separator and not open_brackets:
            parts.append(text[start:position].strip())
            start = position + 1
    if open_brackets:
        raise NotThis(f"a closing '{open_brackets[-1]}'")
    return [*parts, text[start:].strip()]


def literal(value: Any) -> Any:
    """Value of any cell: null, truth value, number, list, dict or text.

    Example:
        >>> literal("0.8,.8,1.5"), literal("[None, tumour]"), literal("{1:1,2:2}"), literal("[a,b],[c,d]")
        ([0.8, 0.8, 1.5], [None, 'tumour'], {1: 1, 2: 2}, [['a', 'b'], ['c', 'd']])
        >>> literal("TRUE"), literal("1e-3"), literal("5.0"), literal("rrr")
        (True, 0.001, 5, 'rrr')
    """
    if not isinstance(value, str):
        return None if is_blank(value) else value
    text = value.strip()
    parts = split(text)
    if len(parts) > 1:
        return [_item(part) for part in parts]
    return _item(text)


def _item(text: str) -> Any:
    if is_blank(text):
        return None
    if text[0] == "{" and text[-1] == "}":
        return dict(_pairs(text))
    if text[0] in "[(" and text[-1] in "])":
        inner = text[1:-1].strip()
        return [_item(part) for part in split(inner)] if inner else []
    return _scalar(text)


def _pairs(text: str) -> Iterator[tuple[Any, Any]]:
    inner = text[1:-1].strip()
    for part in split(inner) if inner else []:
        sides = split(part, ":")
        if len(sides) != 2:
            raise NotThis("pairs such as {1: 0, 2: 1}, a comma between them")
        yield _item(sides[0]), _item(sides[1])


def _scalar(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _NUMBER.fullmatch(text):
        number = float(text)
        return int(number) if number.is_integer() and "e-" not in text.lower() else number
    if text[0] in "'\"" and text[-1] == text[0] and len(text) > 1:
        try:
            return ast.literal_eval(text)
        except (SyntaxError, ValueError):
            return text
    return text


def truth(value: Any) -> bool:
    """TRUE, FALSE, 0 or 1 in any spelling; ``"0"`` is false.

    Raises:
        NotThis: anything else.
    """
    word = str(value).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise NotThis("TRUE or FALSE, 1 or 0")


def number(value: Any) -> int | float:
    """A number; whole ones come as int.

    Raises:
        NotThis: anything else.
    """
    found = literal(value)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise NotThis("a number")
    return int(found) if float(found).is_integer() else found


def whole(value: Any) -> int:
    """A whole number.

    Raises:
        NotThis: anything else.
    """
    try:
        found = number(value)
    except NotThis as error:
        raise NotThis("a whole number") from error
    if not isinstance(found, int):
        raise NotThis("a whole number")
    return found


def numbers(value: Any) -> list[int | float]:
    """One or more numbers, with or without brackets around them.

    Raises:
        NotThis: anything else.
    """
    found = literal(value)
    try:
        return [number(item) for item in (found if isinstance(found, list) else [found])]
    except NotThis as error:
        raise NotThis("numbers, a comma between them") from error


def triple(value: Any) -> list[float]:
    """Three numbers, for x, y and z.

    Raises:
        NotThis: anything else.

    Example:
        >>> triple("0.8,.8,1.5")
        [0.8, 0.8, 1.5]
    """
    try:
        found = numbers(value)
    except NotThis as error:
        raise NotThis("three numbers, for x, y and z, such as 0.8,0.8,1.5") from error
    if len(found) != 3:
        raise NotThis("three numbers, for x, y and z, such as 0.8,0.8,1.5")
    return [float(item) for item in found]


def names(value: Any) -> list[str]:
    """Words with commas between them, with or without brackets; the spaces go.

    Example:
        >>> names("pancreasmsd07, curvaspdac")
        ['pancreasmsd07', 'curvaspdac']
    """
    text = str(value).strip()
    if text[:1] == "[" and text[-1:] == "]":
        text = text[1:-1]
    found = [re.sub(r"\s", "", part).strip("'\"") for part in split(text)]
    if not all(found):
        raise NotThis("names with a comma between them")
    return found
