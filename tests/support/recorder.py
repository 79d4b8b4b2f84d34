r"""A tool that records how it was called, whole: what ldshim must hand over is compared with what a bare call hands over.

The problem: nearly everything a process inherits can be changed without anybody noticing (a signal that Python ignores, a variable that
it exports, a descriptor left open), and a recorder in Python or sh changes some of it itself. The consequence: a recorder of 90 lines of C,
compiled once a session for each banner it is to print, so that ldshim takes it for gcc, lld, bfd …. Asked for `--version` it
prints the banner; in every other call it writes all it can see to a file and ends with status 0.

    recorder = Recorder(place, "gcc", banner("gcc-12"))
    bare = recorder.run([recorder.path, "-c", "x.c"])
    ours = recorder.run([shim.named("gcc"), "-c", "x.c"])
    assert bare == ours
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support import tools

SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static char *text; static size_t size; static FILE *out;
static void begin(void) { out = open_memstream(&text, &size); }
static FILE *all;
static void end(const char *name) {
  fclose(out); fprintf(all, "%s %zu\n", name, size); fwrite(text, 1, size, all); fputc('\n', all); free(text);
}
static void copy(const char *path, const char *only) {
  char line[4096]; FILE *in = fopen(path, "r");
  while (in && fgets(line, sizeof line, in)) {
    char key[64] = ""; sscanf(line, "%62[^:]:", key);
    char wanted[80]; snprintf(wanted, sizeof wanted, " %s ", key);
    if (!only || strstr(only, wanted)) fputs(line, out);
  }
  if (in) fclose(in);
}
int main(int argc, char **argv, char **envp) {
  char *buffer; size_t length; int fd, i;
  char kept[1024][3][64]; int count = 0; char links[1024][256];
  if (argc == 2 && !strcmp(argv[1], "--version")) { puts(BANNER); return 0; }
  for (fd = 0; fd < 1024; fd++) {
    int flags = fcntl(fd, F_GETFD); char path[64];
    if (flags < 0) continue;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, links[count], 255); links[count][n < 0 ? 0 : n] = 0;
    snprintf(kept[count][0], 64, "%d", fd); snprintf(kept[count][1], 64, "%d", flags);
    snprintf(kept[count][2], 64, "%x", fcntl(fd, F_GETFL)); count++;
  }
  all = open_memstream(&buffer, &length);
  begin(); for (i = 0; i < argc; i++) { fputs(argv[i], out); fputc(0, out); } end("argv");
  begin(); for (i = 0; envp[i]; i++) { fputs(envp[i], out); fputc(0, out); } end("environ");
  begin(); for (i = 0; i < count; i++) fprintf(out, "%s %s %s %s\n", kept[i][0], kept[i][1], kept[i][2], links[i]); end("fds");
  begin(); copy("/proc/self/status",
    " SigPnd ShdPnd SigBlk SigIgn SigCgt Umask Uid Gid Groups NoNewPrivs Seccomp CapInh CapPrm CapEff CapBnd "
    "CapAmb Cpus_allowed Threads ");
  end("status");
  begin(); copy("/proc/self/limits", NULL); end("limits");
  begin(); copy("/proc/self/cgroup", NULL); copy("/proc/self/oom_score_adj", NULL); end("kernel");
  begin(); char *cwd = getcwd(NULL, 0); fputs(cwd ? cwd : "", out); end("cwd");
  begin(); fprintf(out, "%d", getpriority(PRIO_PROCESS, 0)); end("nice");
  char stat[4096] = ""; FILE *in = fopen("/proc/self/stat", "r"); fread(stat, 1, sizeof stat - 1, in); fclose(in);
  char state; int ppid, pgrp, session, tty, foreground;
  sscanf(strrchr(stat, ')') + 2, "%c %d %d %d %d %d", &state, &ppid, &pgrp, &session, &tty, &foreground);
  begin(); fprintf(out, "leader %d session-leader %d ", pgrp == getpid(), session == getpid());
  fprintf(out, "tty %d in-foreground %d", tty, foreground == pgrp);
  end("job");
  begin(); fprintf(out, "%d", ppid); end("parent");
  struct itimerval timer; getitimer(ITIMER_REAL, &timer);
  begin(); fprintf(out, "%ld", (long)timer.it_value.tv_sec); end("alarm");
  errno = 0; i = waitpid(-1, NULL, WNOHANG);
  begin(); fprintf(out, "%d %d", i, errno); end("children");
  char word[64]; begin(); ssize_t got = STDIN ? read(0, word, sizeof word) : 0;
  if (got > 0) fwrite(word, 1, got, out); end("stdin");
  fclose(all);
  fd = open(RECORD, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  for (size_t at = 0; at < length;) { ssize_t n = write(fd, buffer + at, length - at); if (n <= 0) return 9; at += n; }
  return STATUS;
}
"""

# What may differ from the bare call, by contract (C3 and issue 3), and nothing else.
MAY_DIFFER = (b"MAKEFLAGS", b"MFLAGS", b"CARGO_MAKEFLAGS", b"COLLECT_GCC_OPTIONS", b"PATH")


class Recorder:
    """A recording tool. place: an empty directory; name: what it is called; banner: what it answers to --version."""

    def __init__(self, place: Path, name: str, banner: str, *, stdin: bool = False) -> None:
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        self.record = place / "record"
        self.path = str(place / name)
        quoted = banner.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        source = place / "recorder.c"
        defines = [f'#define BANNER "{quoted}"', f'#define RECORD "{self.record}"', f"#define STDIN {int(stdin)}", "#define STATUS 0"]
        source.write_text("\n".join([*defines, SOURCE]))
        subprocess.run([tools.need_c_library(), "-w", "-O1", str(source), "-o", self.path], check=True)

    def run(self, command: list[str] | list[bytes], **how: Any) -> dict[str, Any]:
        """Run a command that leads to this tool: what the tool saw. how: for subprocess.Popen."""
        self.record.unlink(missing_ok=True)
        done = subprocess.run(command, check=False, **how)
        assert (0, True) == (done.returncode, self.record.exists()), done.stderr
        return parse(self.record.read_bytes())


def parse(data: bytes) -> dict[str, Any]:
    """Read a record: argv and environ as lists of bytes, fds as {number: (FD flags, file flags, link)}, everything else as text."""
    out: dict[str, Any] = {}
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        name, length = data[at:end].split()
        value = data[end + 1 : end + 1 + int(length)]
        at = end + 2 + int(length)
        key = name.decode()
        if key in ("argv", "environ"):
            out[key] = value.split(b"\0")[:-1]
        elif key == "fds":
            lines = [line.split(b" ", 3) for line in value.splitlines()]
            out[key] = {int(line[0]): (line[1], line[2], line[3]) for line in lines}
        else:
            out[key] = value.decode(errors="surrogateescape")
    return out


def strangers(environ: list[bytes]) -> list[bytes]:
    """Drop from an environment what ldshim may change: the rest must be the bare call's, in whatever order a shell writes it."""
    return sorted(entry for entry in environ if entry.partition(b"=")[0] not in MAY_DIFFER and not entry.startswith(b"_LDSHIM_"))


def without_links_pipes(record: dict[str, Any]) -> dict[str, Any]:
    """Drop what an LTO link is given on purpose: pipes of ours above 100 (20 under a low limit), and the variables that may change."""
    most = int(record["limits"].partition("Max open files")[2].split()[0])
    fds = {
        number: what for number, what in record["fds"].items() if number < (101 if most > 200 else 20) or not what[2].startswith(b"pipe:")
    }
    return {**record, "fds": fds, "environ": strangers(record["environ"])}


def compared(record: dict[str, Any]) -> dict[str, Any]:
    """Drop only the variables that ldshim may change: for every call that is no LTO link."""
    return {**record, "environ": strangers(record["environ"])}


def banner(tool: str) -> str:
    """Ask an installed tool for its --version."""
    done = subprocess.run([tools.need(tool), "--version"], stdout=subprocess.PIPE, check=True, env={"LC_ALL": "C", "PATH": os.defpath})
    return done.stdout.decode().rstrip("\n")
