"""The tests of ldshim: a package, so that helpers have one name (`from tests.tools import need`) for pytest and for mypy alike."""
