"""The few formulas that the workbooks use, worked out without Excel."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_CONSTANTS: dict[str, bool | float] = {"TRUE": True, "FALSE": False, "PI": math.pi}
_LONGEST = 200
_LARGEST_EXPONENT = 64


class NotEvaluated(ValueError):
    """A formula outside the small grammar."""


def evaluate(formula: str) -> bool | int | float:
    """Value of ``=TRUE()``, ``=FALSE()``, ``=PI()/8`` and of plain arithmetic (``+ - * / ^``, brackets, per cent).

    Raises:
        NotEvaluated: anything else, such as a reference to another cell.

    Example:
        >>> evaluate("=TRUE()"), evaluate("=PI()/8"), evaluate("=2^3-10%")
        (True, 0.39269908169872414, 7.9)
    """
    text = formula.removeprefix("=").strip()
    text = re.sub(r"(\d+(?:\.\d+)?)\s*%", r"(\1/100)", text).replace("^", "**")
    try:
        if len(text) > _LONGEST:
            raise NotEvaluated(formula)
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ArithmeticError, TypeError, RecursionError, ValueError) as error:
        raise NotEvaluated(formula) from error


def _value(node: ast.expr) -> bool | int | float:
    match node:
        case ast.Constant(value=bool() | int() | float() as number):
            return number
        case ast.Name(id=name) if name.upper() in ("TRUE", "FALSE"):
            return _CONSTANTS[name.upper()]
        case ast.Call(func=ast.Name(id=name), args=[], keywords=[]) if name.upper() in _CONSTANTS:
            return _CONSTANTS[name.upper()]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=kind, right=right) if type(kind) in _BINARY:
            return _binary(_value(left), kind, _value(right))
    raise NotEvaluated(ast.dump(node))


def _binary(left: float, kind: ast.operator, right: float) -> float:
    if isinstance(kind, ast.Pow) and (abs(right) > _LARGEST_EXPONENT or left < 0):
        raise NotEvaluated("a power out of range")
    return _BINARY[type(kind)](left, right)
