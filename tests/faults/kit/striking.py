"""How a fault gets into real code: a call of a certain number does not end well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from unittest.mock import patch


@contextmanager
def at_call(owner: Any, name: str, number: int, strike: Callable[..., None]) -> Iterator[None]:
    """Strike before a function's call of this number."""
    original, calls = getattr(owner, name), count(1)

    def watched(*call: object, **more: object) -> object:
        if next(calls) == number:
            strike(*call)
        return original(*call, **more)

    with patch.object(owner, name, watched):
        yield


class Failing:
    """Stands for an object of which one method fails at a call."""

    def __init__(self, of: object, method: str, number: int, error: BaseException) -> None:
        self._of, self._method, self._number, self._error = of, method, number, error
        self._calls = 0

    def __getattr__(self, name: str) -> object:
        if name == self._method:
            self._calls += 1
            if self._calls == self._number:
                raise self._error
        return getattr(self._of, name)
