"""ldshim: a stand-in for linkers and compiler drivers that gives each LTO link the threads it may use, and no more.

Build tools decide how many jobs run; linkers decide for themselves how many threads they start. ldshim stands between the two. One call
travels like this (each step is a module, in this order):

    environ     the environment as the kernel gave it, and our own variables
    findtool    which tool we stand in for, and where the real one is
    toolid      what that tool really is
    command     what the command line says
    ir          what the inputs are
    mode        is this an LTO link, and how many jobs could it use
    hardware    how many CPUs may this process use
    reserve     whose tokens are there, and how to take them
    budget      the number
    rewrite     the words and variables that tell the tool the number
    private     the jobserver that makes GCC keep to it
    handover    exec of the real tool
    warden      what stays behind: holds the tokens, gives every byte back

`entry` tells this story from top to bottom; anything it does not understand, and any failure of its own, ends in the real tool running
with its original arguments. `doc/` beside this file has the rest.
"""

__version__ = "0.1.0"
