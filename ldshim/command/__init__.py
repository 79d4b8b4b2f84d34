"""Command lines, read and never run: argv bytes in, facts with positions out.

One table per family says which words are options, which take the next word, and what they mean; `argv` walks a line by such a table and
`rspfile` unfolds `@file` arguments in the tool's own quoting. Everything here is pure: a file's text comes through a function that the
caller hands in.
"""
