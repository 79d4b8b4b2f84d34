"""Write the code of all modules that a link may need into one file, for ldshim/bundle.py, which says why.

The code is what a `.pyc` under -OO holds, without the one import that every module begins with: `from __future__ import annotations` is a
flag of the compiler, and as a statement costs each link the search for a module of the standard library (0.4 ms).
"""

from __future__ import annotations
import __future__

import ast
import importlib.util
import marshal
import os

from .. import bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

# People's commands, and what only makes farms.
_LEFT_OUT = ("__main__.py", "bundle.py", "cli", "farm.py")


def build(package: str) -> bytes:
    """Return the content of a bundle for the interpreter that runs this. package: the directory of ldshim, absolute. Raises OSError."""
    index: dict[str, tuple[str, int, int, bool, int, int]] = {}
    codes: list[bytes] = []
    end = 0
    for name, source in _modules(package):
        codes.append(marshal.dumps(_compiled(source)))
        start, end = end, end + len(codes[-1])
        found = os.stat(source)
        index[name] = (source, int(found.st_mtime), found.st_size, source.endswith("/__init__.py"), start, end)
    head = marshal.dumps((_compiled(os.path.join(package, "bundle.py")), index))
    return b"".join([importlib.util.MAGIC_NUMBER, len(head).to_bytes(4, "little"), head, *codes])


def _modules(package: str) -> list[tuple[str, str]]:
    """List (module, source), those of bundle.EARLY first."""
    found = []
    for directory, inner, names in os.walk(package):
        inner[:] = [name for name in inner if name not in _LEFT_OUT]
        for name in names:
            if name.endswith(".py") and name not in _LEFT_OUT:
                source = os.path.join(directory, name)
                parts = os.path.relpath(source, os.path.dirname(package))[:-3].split(os.sep)
                found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), source))
    return sorted(found, key=lambda pair: (pair[0] not in bundle.EARLY, pair))


def _compiled(source: str) -> CodeType:
    with open(source, "rb") as stream:
        tree = ast.parse(stream.read(), source)
    flags = 0
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            tree.body.remove(statement)
            flags = __future__.annotations.compiler_flag
            break
    code: CodeType = compile(_Untyped().visit(tree), source, "exec", flags, dont_inherit=True, optimize=2)
    return code


class _Untyped(ast.NodeTransformer):
    """Take out what only type checkers read: a fifth of what is to be unmarshalled."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt] | None:
        self.generic_visit(node)
        return node.orelse or None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node
