"""Write the code of all modules that a link may need into one file, for ldshim/bundle.py, which says why.

The code is what a `.pyc` under -OO holds, except for three things. The one import that every module begins with, `from __future__ import
annotations`, is a flag of the compiler, and as a statement costs each link the search for a module of the standard library (0.4 ms). What
only type checkers read is left out. And the modules of LEANER are imported in place of those that their names say.

Modules that are always needed together are a group: the roots of GROUPS, with all that they import where no function asks for it.
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
_LEFT_OUT = ("__main__.py", "bundle.py", "cli", "launcher/text.py")

# Each without what a group before it has; so what two groups need stands in one before both.
GROUPS = (
    bundle.EARLY,
    ("ldshim.entry", "ldshim.command.probes"),  # every call that comes further
    ("ldshim.plan", "ldshim.carryout", "ldshim.command.linkline"),  # every link
    ("ldshim.inputs.scan",),  # every link whose inputs count
    ("ldshim.reserve.cpus",),  # every link that counts CPUs
    ("ldshim.command.driver",),
    ("ldshim.command.gcc", "ldshim.inputs.gcc"),
    ("ldshim.command.lld", "ldshim.inputs.bitcode"),
    ("ldshim.reserve.source",),  # every link that may hold something
    (
        "ldshim.decide.memory_estimate",
        "ldshim.reserve.memory_ledger",
    ),  # the shim of one that tells its number at once, the warden of any other
    ("ldshim.warden.watch",),
)
_SHARED = ("_struct", "fcntl", "select", "termios")  # where the interpreter has them in files of their own
LEANER = {"os": "ldshim.lean_os", "struct": "_struct"}  # 2 ms, and 0.3 for a file that only imports the other


def build(package: str) -> bytes:
    """Return the content of a bundle for the interpreter that runs this. package: the directory of ldshim, absolute. Raises OSError."""
    sources = dict(_modules(package))
    parsed = {name: _parsed(source) for name, source in sources.items()}
    index: bundle.Index = {}
    groups: bundle.Groups = []
    codes: list[bytes] = []
    end = 0
    for number, names in enumerate(grouped(parsed)):
        codes.append(marshal.dumps(tuple(_compiled(parsed[name], sources[name]) for name in names)))
        start, end = end, end + len(codes[-1])
        groups.append((names, start, end))
        for name in names:
            found = os.stat(sources[name])
            index[name] = (sources[name], int(found.st_mtime), found.st_size, sources[name].endswith("/__init__.py"), number)
    for name in _SHARED:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.has_location and spec.origin:
            found = os.stat(spec.origin)
            index[name] = (spec.origin, int(found.st_mtime), found.st_size, False, -1)
    own = os.path.join(package, "bundle.py")
    head = marshal.dumps((_compiled(_parsed(own), own), index, groups))
    return b"".join([importlib.util.MAGIC_NUMBER, len(head).to_bytes(4, "little"), head, *codes])


def grouped(parsed: dict[str, ast.Module]) -> list[list[str]]:
    """Sort modules into groups, each in an order in which none comes before what it imports. parsed: {module: its tree}."""
    seen: set[str] = set()
    out = [_closure(list(roots), parsed, seen) for roots in GROUPS]
    return out + [[name] for name in sorted(set(parsed) - seen)]


def _closure(names: list[str], parsed: dict[str, ast.Module], seen: set[str]) -> list[str]:
    """List modules behind their packages and all that they import, without those in seen, which grows."""
    out: list[str] = []
    for name in names:
        if name in seen or name not in parsed:
            continue
        seen.add(name)
        package = name.rpartition(".")[0]
        wanted = [package, *_imports(parsed[name], name)] if package else []
        out += [*_closure(wanted, parsed, seen), name]
    return out


def _imports(tree: ast.Module, name: str) -> list[str]:
    """List what the statements of a module import that stand in no function, and may be ours."""
    package = name.rpartition(".")[0].split(".")
    out = []
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom):
            # A package of ours imports nothing, so `.` is never a package's own.
            above = package[: len(package) + 1 - statement.level] if statement.level else []
            base = ".".join([*above, *([statement.module] if statement.module else [])])
            out += [base, *(f"{base}.{alias.name}" for alias in statement.names)]
        elif isinstance(statement, ast.Import):
            out += [alias.name for alias in statement.names]
    return out


def _modules(package: str) -> list[tuple[str, str]]:
    """List (module, source)."""
    found = []
    for directory, inner, names in os.walk(package):
        inner[:] = [name for name in inner if name not in _LEFT_OUT]
        for name in names:
            if name.endswith(".py") and name not in _LEFT_OUT:
                source = os.path.join(directory, name)
                parts = os.path.relpath(source, os.path.dirname(package))[:-3].split(os.sep)
                found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), source))
    return sorted(found)


def _parsed(source: str) -> ast.Module:
    """Parse one module, without what a link does not need."""
    with open(source, "rb") as stream:
        tree = ast.parse(stream.read(), source)
    # Who stands in for os asks it for what it has not got.
    if not source.endswith("/lean_os.py"):
        tree = _Trimmed().visit(tree)
    return ast.fix_missing_locations(tree)


def _compiled(tree: ast.Module, source: str) -> CodeType:
    flags = __future__.annotations.compiler_flag
    code: CodeType = compile(tree, source, "exec", flags, dont_inherit=True, optimize=2)
    return code


def _leaner(alias: ast.alias) -> ast.stmt:
    """Write the import of one module: of the leaner one, where there is one."""
    if alias.name not in LEANER:
        return ast.Import(names=[alias])
    package, _, last = LEANER[alias.name].rpartition(".")
    name = ast.alias(name=last, asname=alias.asname or alias.name)
    return ast.ImportFrom(module=package, names=[name], level=0) if package else ast.Import(names=[name])


class _Trimmed(ast.NodeTransformer):
    """Take out what only type checkers read, a fifth of what is to be unmarshalled, and import what is leaner."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt] | None:
        self.generic_visit(node)
        return node.orelse or None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        return [ast.copy_location(_leaner(alias), node) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        if node.module == "__future__":
            return None
        if node.module in LEANER and not node.level:
            node.module = LEANER[node.module]
        return node
