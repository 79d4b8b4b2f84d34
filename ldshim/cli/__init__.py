"""The commands of ldshim itself. Only they use argparse; the options of the tools are tables in `command`."""
