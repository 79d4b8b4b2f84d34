"""ldshim: a stand-in for linkers and compiler drivers that gives each LTO link the threads it may use, and no more.

Build tools decide how many jobs run; linkers decide for themselves how many threads they start. ldshim stands in for the linker and brings
the two together. One call goes through these modules and packages:

    entry        the steps of one call, in their order
    plain_link   a first check that ends most calls early: certainly no LTO link
    call         what was called: environment, real tool, family and version
    command      the meaning of the arguments
    inputs       what the input files are
    decide       the mode, the number, the memory estimate, the edits
    reserve      the sources of threads, and how threads are taken
    analysis     the steps from the call to the decision, before anything is taken
    warden       the reservation, exec of the real tool, and the process that holds the tokens and returns every byte
    backends     LTO backends as processes, here or on a remote execution service
    record       what was decided, for the log and for people
    fallback     exec of the real tool when ldshim itself has failed
    launcher     the files of a link farm, and the installed command
    cli          ldshim's own commands

For a call that ldshim does not understand, and after any failure of its own, it execs the real tool with the original arguments. The
documents are in `doc/`.
"""

__version__ = "0.1.0"
