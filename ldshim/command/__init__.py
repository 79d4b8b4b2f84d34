"""Parse command lines: argv bytes in, facts with positions out.

One table per family says which arguments are options, which options take the next argument, and what they mean. `argv` parses arguments
by such a table. `rspfile` expands `@file` arguments by the tool's own quoting rules. Everything here is pure: the caller passes the
function that reads a file.
"""
