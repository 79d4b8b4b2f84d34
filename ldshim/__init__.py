"""ldshim: a stand-in for linkers and compiler drivers that gives each LTO link the threads it may use, and no more.

Build tools decide how many jobs run; linkers decide for themselves how many threads they start. ldshim stands between the two. One call
travels through these rooms, in this order:

    entry        the story of one call, top to bottom
    plain_link   a first look that ends most links early: certainly not LTO
    call         what was called: environment, real tool, family and version
    command      what the arguments say
    inputs       what the files are
    decide       the mode, the number, the memory estimate, the rewriting
    reserve      whose threads there are, and how to take them
    analysis     these steps in their order, before anything is taken
    warden       the reservation, exec of the real tool, and what stays behind: holds the tokens, gives every byte back
    backends     LTO backends as processes, here or on a remote execution service
    record       what was decided, for the log and for people
    fallback     exec of the real tool when ldshim itself has failed
    launcher     the files of a link farm, and the installed command
    cli          our own commands

`entry` tells this story from top to bottom; anything it does not understand, and any failure of its own, ends in the real tool running
with its original arguments. `doc/` beside this file has the rest.
"""

__version__ = "0.1.0"
