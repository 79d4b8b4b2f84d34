"""The tests of ldshim: a package, so that helpers have one name (`from tests.support.tools import need`) for pytest and for mypy alike."""
