"""Read the inputs of a link: whether it is an LTO link, of which kind, and how large.

The arguments are often not enough. lld has no `-flto`, collect2 removes it, and GCC follows the options that are recorded in the objects.
The inputs decide: LLVM bitcode has a magic number, FatLTO and GCC's IR have section names. So `scan` finds the inputs as a linker does
(operands, archives, thin archives, `-l`, linker scripts) and adds them up in `findings`.

The code runs before every link. So a plain object costs an open and two or three small reads, and no large module is imported. The inputs
may be anything in a build tree: half-written objects, FIFOs, archives that name each other. So one meter counts and bounds every read
(`extent`), and each parser raises one exception (`MalformedError`), which `scan` turns into a note. A link with unreadable inputs does not
count as LTO, and the real linker reports the error.
"""
