"""What the tests share: tools, a pool that is recounted, the installed command, a program to link."""
