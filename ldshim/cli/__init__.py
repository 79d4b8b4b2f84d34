"""ldshim's own command line: the only place where argparse lives; the tools' options are tables under `command`."""
