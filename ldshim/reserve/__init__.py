"""Where threads come from, and how they are given back.

The token count is somebody else's property. So each source is a client with the same few verbs (lease.py: grow, shrink, release), each says
why it cannot be used in one sentence of a closed set, and none of them ever waits for a token: the caller's own slot is always enough
to begin with (C18).

In the order in which they are tried (C11):
  makeflags.py   what MAKEFLAGS says; pure
  jobserver.py   a client for the jobserver it names, through private descriptors of ours (C12, C13)
  recipe.py      the make that runs this recipe, and the words it gave it
  recover.py     the same jobserver, fetched from the make that withheld it from this recipe
  slots.py       the host's own slots where there is no jobserver: flock on files in a directory that only we can write (C16)
  source.py      that order
  lease.py       what one link holds, whoever owns it: the warden's view of all of the above (C14)
  wrapped.py     leases that stand in front of another
  ours.py        that directory
"""
