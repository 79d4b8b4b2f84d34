"""The inputs of a link, read and never trusted: whether it is an LTO link, of which kind, and how large.

argv often does not say. lld has no `-flto`, collect2 strips it, and GCC honours what the objects recorded when they were compiled. The
inputs know: LLVM bitcode by its magic, FatLTO by a section name, GCC's by another. So `scan` walks them the way a linker would find them
(operands, archives, thin archives, `-l`, linker scripts) and adds up `findings`.

Two things shape the code. It runs before every link, so a plain object costs an open and two or three small reads, and nothing heavy is
imported. And it meets whatever lies in a build tree: half-written objects, FIFOs, archives that name each other. So every read is bounded
and counted by one meter (`extent`), parsers raise one exception (`MalformedError`) that `scan` turns into a note, and a link whose inputs
cannot be read is simply not called LTO: the real linker will say what is wrong, better than we could.
"""
