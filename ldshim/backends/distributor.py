"""What lld starts as its --thinlto-distributor: `python distributor.py JSON`.

A distributor that fails fails the link, so nothing here may: where the package cannot be imported, or fails before it has begun, the jobs
run one after the other, as lld wrote them down.
"""

import sys


def one_by_one(path: str) -> int:
    """Run the jobs of lld's file with nothing of ours: the status of the first that fails."""
    import json  # noqa: PLC0415
    import subprocess  # noqa: PLC0415

    with open(path, "rb") as stream:
        document = json.load(stream)
    for job in document["jobs"]:
        status = subprocess.call([*document["common"]["args"], *job["args"]])
        if status:
            return status
    return 0


def main() -> None:
    """Run the jobs, and exit."""
    try:
        sys.path.append(__file__.rpartition("/ldshim/")[0])
        from ldshim.backends import lld  # noqa: PLC0415

        status = lld.run(sys.argv[-1])
    except Exception as failure:
        print("ldshim: distributor: internal error, the jobs run one by one:", ascii(failure), file=sys.stderr)
        status = one_by_one(sys.argv[-1])
    sys.exit(status)


if __name__ == "__main__":
    main()
