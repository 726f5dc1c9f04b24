"""The examples in docstrings give what they say."""

import doctest
from importlib import import_module

import pytest

from tests.test_architecture import MODULES


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name):
    module = import_module(f"unetkit.{name}")
    # Docstrings write `np` and the module's own names; whoever copies them imports these.
    names = {**vars(module), "np": import_module("numpy")}
    result = doctest.testmod(module, extraglobs=names, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = (import_module(f"unetkit.{name}") for name in MODULES)
    assert sum(len(t.examples) > 0 for module in modules for t in finder.find(module)) >= 15
