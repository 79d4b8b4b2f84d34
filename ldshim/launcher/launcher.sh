#!/bin/sh @PADDING@
# @MAGIC@
# @WRITTEN@
_ldshim_=r''':'
# The problem: set as CC= in kbuild, a compiler's stand-in runs for every object, and Python takes six times as long to start as a shell.
# And a build's variables may keep Python from starting (LD_LIBRARY_PATH, LD_PRELOAD), or Python may be gone: then the kernel would say
# "not found" for a link. The consequence: this shell script. It execs the real tool for every call that certainly does not link, without a
# fork and without Python, and hands the rest to Python, which looks again with the same lists (ldshim/command/probes.py). Where Python
# cannot start, the tool runs.
#
# Two kinds of file are made of this text (launcher/text.py): the launchers of a link farm, in which link-farm has written down tool and
# interpreter, and the installed command `ldshim`, which finds both. A line `#[farm]` or `#[command]` says whose the next lines are, `#[both]`
# ends it, and the lines behind `#[probes]` and `#[links]` are there for each kind of tool. The file is Python as well: what the shell reads
# is a string there, and Python's part stands behind it. So Python needs no word more on its command line than the script itself, and the
# execs of this script do not meet a limit (E2BIG) that the caller's own exec has not met: the first line is padded for that.
#
# When is `-c` certainly an option? Whatever stands before it, it can only be the value of the word right before it. So it is an option
# unless that word takes a value (`-o -c`, `-Xlinker -c`), or is a response file, which may end in such a word. That needs no walk with a
# state, only the last word; what is doubtful goes to Python.
#
# What a shell does to the environment on the way (dash 0.5.12, measured by tests/process/test_launcher_environment.py): variables whose names are
# no sh names are dropped (an exported bash function is one; bash as sh keeps them), PWD is set, or corrected where it was not the current
# directory, and IFS, OPTIND and PPID are reset where they were set. Ours: _LDSHIM_VIA, _LDSHIM_DEPTH, and PATH without directories of
# ours. Every variable of this file begins with _ldshim_, for to assign to one that came with the environment is to change it.
#
# It cannot loop. A call that comes round again in the same process finds that pid in _LDSHIM_VIA, and one that has eight others above it,
# all handed to the same tool, finds 8 in _LDSHIM_DEPTH: both go to Python, which compares process and tool exactly (exit 111). Where there
# is no Python, dots behind the pid count the rounds.

_ldshim_way=python
_ldshim_doubt=
_ldshim_tool=
_ldshim_found=
_ldshim_first=
_ldshim_pin=
_ldshim_own=
_ldshim_met=

#[farm]
_ldshim_name=@NAME@
_ldshim_kind=@KIND@
_ldshim_variable=@VARIABLE@
_ldshim_pin=${@VARIABLE@-}
_ldshim_tool=@REAL@
#[command]
# Which tool is it? Our own name: the first argument says it, unless it is an option or a command of ours, which are no tools' names.
_ldshim_name=${0##*/}
if [ "$_ldshim_name" = ldshim ]; then
    _ldshim_name=${1-}
    case $_ldshim_name in
    '' | -*) _ldshim_own=yes ;;
    *)
        _ldshim_first=$1
        _ldshim_name=${1##*/}
        [ "$_ldshim_name" != "$1" ] || _ldshim_met=name
        shift
        ;;
    esac
fi
# A prefix, a version and a thread model belong to a name: x86_64-linux-gnu-gcc-12, gcc13 (real_tool.kind_of).
case $_ldshim_name in
@THREAD_MODELS@) _ldshim_base=${_ldshim_name%-*} ;;
*) _ldshim_base=$_ldshim_name ;;
esac
case ${_ldshim_base##*-} in
*[!0-9.]*) ;;
*[0-9]*) _ldshim_base=${_ldshim_base%-*} ;;
esac
case $_ldshim_base in
@OTHERS@) _ldshim_base= ;;
esac
_ldshim_base=${_ldshim_base##*-}
case $_ldshim_base in
*[!0-9][0-9]*)
    case ${_ldshim_base%%[0-9]*}:${_ldshim_base#"${_ldshim_base%%[0-9]*}"} in
    *:*[!0-9]*) ;;
    @NUMBERED@) _ldshim_base=${_ldshim_base%%[0-9]*} ;;
    esac
    ;;
esac
case $_ldshim_name:$_ldshim_base in
*[!+._0-9A-Za-z:-]*) _ldshim_kind= ;;
@DRIVERS@) _ldshim_kind=driver ;;
@LINKERS@) _ldshim_kind=linker ;;
*) _ldshim_kind= ;;
esac
# The variable that pins it (real_tool.variable_for).
_ldshim_variable=LDSHIM_REAL_
case $_ldshim_kind:$_ldshim_name in
:*) ;;
@UPPER@
*)
    _ldshim_rest=$_ldshim_name
    while [ -n "$_ldshim_rest" ]; do
        _ldshim_letter=${_ldshim_rest%"${_ldshim_rest#?}"}
        _ldshim_rest=${_ldshim_rest#?}
        case $_ldshim_letter in
        @LETTERS@
        [0-9A-Z]) ;;
        *) _ldshim_letter=_ ;;
        esac
        _ldshim_variable=$_ldshim_variable$_ldshim_letter
    done
    ;;
esac
case $_ldshim_first in
# A path is used as it is, unless it leads back to us; one that is not in its shortest form is Python's to make absolute.
*/*)
    case $_ldshim_first in
    *//* | */./* | */../* | [!/]*) _ldshim_tool=/ ;;
    *) _ldshim_tool=$_ldshim_first ;;
    esac
    ;;
# A pin may be a copy of this file: Python's to tell.
*) [ -z "$_ldshim_kind" ] || eval "_ldshim_pin=\${$_ldshim_variable:+/}" ;;
esac
#[both]

# Tell whether a file is there to be executed. Where the kernel's answer is refused (faccessat2 under an old seccomp filter), exec judges.
_ldshim_runs() {
    [ -f "$1" ] && { [ -x "$1" ] || [ ! -x / ]; }
}

# Tell whether $1, in the directory $2, is ldshim itself: a launcher of a farm, or a link to this file.
_ldshim_is_ours() {
    [ -e "$2/@MARK@" ] || [ "$1" -ef "$0" ]
}

# Tell whether a directory holds nothing but ldshim, and is to leave the PATH of what runs below.
_ldshim_leaves() {
    [ ! -e "$1/@MARK@" ] || return 0
    for _ldshim_entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        [ "$_ldshim_entry" -ef "$0" ] || { [ ! -e "$_ldshim_entry" ] && [ ! -L "$_ldshim_entry" ]; } || return 1
    done
}

case $_ldshim_pin in
'') ;;
# A pin is Python's to refuse, in words; here it is only not followed to ourselves. `/` is no tool, for what is Python's to find.
/*) _ldshim_tool=$_ldshim_pin ;;
*) _ldshim_tool=/ ;;
esac
if [ -n "$_ldshim_tool" ]; then
    if ! _ldshim_runs "$_ldshim_tool" || _ldshim_is_ours "$_ldshim_tool" "${_ldshim_tool%/*}"; then
        _ldshim_tool=
        _ldshim_doubt=tool
    fi
    # lld tells what it is to be by its argv[0], which a shell cannot choose.
    case ${_ldshim_tool##*/}:$_ldshim_name in
    lld:lld | rust-lld:rust-lld) ;;
    lld:* | rust-lld:*) _ldshim_doubt=tool ;;
    esac
fi

# Collect PATH without directories of ours; where no tool is known, find the first that is left. A tool that stands before an entry of ours
# may be one that comes back to us: Python's to tell.
_ldshim_walk() {
    _ldshim_kept=
    _ldshim_match=
    _ldshim_rest=$PATH:
    while [ -n "$_ldshim_rest" ]; do
        _ldshim_part=${_ldshim_rest%%:*}
        _ldshim_rest=${_ldshim_rest#*:}
        _ldshim_at=${_ldshim_part:-.}
        if [ -f "$_ldshim_at/$_ldshim_name" ]; then
            [ "$0" != "${_ldshim_part:+${_ldshim_part%/}/}$_ldshim_name" ] || _ldshim_met=name
            if _ldshim_is_ours "$_ldshim_at/$_ldshim_name" "$_ldshim_at"; then
                [ -z "$_ldshim_found" ] || _ldshim_doubt=tool
                ! _ldshim_leaves "$_ldshim_at" || continue
            elif [ -z "$_ldshim_match" ] && _ldshim_runs "$_ldshim_at/$_ldshim_name"; then
                case $_ldshim_at in
                /*) _ldshim_match=$_ldshim_at/$_ldshim_name ;;
                *) _ldshim_match=${PWD:-.}/$_ldshim_at/$_ldshim_name ;;
                esac
                if [ -z "$_ldshim_tool" ]; then
                    _ldshim_found=yes
                    _ldshim_tool=$_ldshim_match
                fi
            fi
        fi
        _ldshim_kept=$_ldshim_kept:$_ldshim_part
    done
    _ldshim_kept=${_ldshim_kept#:}
}

# Count the calls above this one that were handed to the same tool, and this one.
_ldshim_count() {
    _ldshim_depth=1
    case ${_LDSHIM_DEPTH-} in
    [1-9]:"$_ldshim_tool") _ldshim_depth=$((${_LDSHIM_DEPTH%%:*} + 1)) ;;
    esac
}

# Hand this process over to the real tool.
_ldshim_become() {
    [ "$PATH" = "$_ldshim_kept" ] || PATH=$_ldshim_kept
    _LDSHIM_DEPTH=$_ldshim_depth:$_ldshim_tool
    export _LDSHIM_VIA _LDSHIM_DEPTH
    # By its name, where that is what the bare call would have given it as argv[0] (real_tool.py), else by its path.
    [ "$_ldshim_met:$_ldshim_tool" != "name:$_ldshim_match" ] || exec "$_ldshim_name" "$@"
    exec "$_ldshim_tool" "$@"
}

# Do that for a call that certainly does not link, unless Python has to look for the tool: for a pin that it must refuse, for what may be a
# loop or a masquerade, below collect2.
_ldshim_straight() {
    [ $_ldshim_way = straight ] && _ldshim_search || return 0
    _LDSHIM_VIA=$$.
    _ldshim_become "$@"
}

# Find the tool, and PATH for it; where Python has to, there is no tool.
_ldshim_search() {
    case $_ldshim_doubt:${COLLECT_GCC+collect}:${_LDSHIM_VIA-} in
    tool:* | *:collect:* | *:$$.*) _ldshim_doubt=tool ;;
    *) _ldshim_walk ;;
    esac
    _ldshim_count
    case $_ldshim_doubt:$_ldshim_depth:$_ldshim_found in
    tool:* | *:9:* | *:10:* | *:[2-8]:yes)
        _ldshim_tool=
        _ldshim_doubt=tool
        ;;
    esac
    [ -n "$_ldshim_tool" ]
}

case ${LDSHIM_DISABLE-}:$_ldshim_kind in
1:?*) _ldshim_way=straight ;;
esac
# Whoever asks why is told by Python.
[ -z "${LDSHIM_EXPLAIN-}" ] || _ldshim_doubt=tool
_ldshim_taken=
_ldshim_before=
#[probes]
if [ $_ldshim_way:$_ldshim_kind = python:@KIND@ ]; then
    case :${1-} in
    @FIRST@) _ldshim_way=straight ;;
    esac
    case $#:${1-} in
    @ALONE@) _ldshim_way=straight ;;
    esac
    if [ $_ldshim_way = python ]; then
        for _ldshim_word do
            case $_ldshim_word in
            # Most words of a compile, sorted out before the longer list.
            [!-]* | -[!@SECOND@]* | -f[!s]*) ;;
            --) break ;;
            @PROBES@)
                case $_ldshim_before in
                # Most words that stand before a probe, and take no value. The list of those that do is not even parsed for them.
                '' | [!-@]* | -[DILOUW]?*)
                    _ldshim_way=straight
                    break
                    ;;
                *) _ldshim_taken=perhaps ;;
                esac
                ;;
            esac
            _ldshim_before=$_ldshim_word
        done
    fi
fi
#[both]
_ldshim_straight "$@"

#[links]
if [ $_ldshim_way:$_ldshim_kind = python:@KIND@ ]; then
    _ldshim_takes='@TAKES_NEXT@'
    _ldshim_before=
    [ -n "$_ldshim_taken" ] && for _ldshim_word do
        case $_ldshim_word in
        --) break ;;
        @PROBES@)
            case $_ldshim_before in
            @*) ;;
            *)
                case $_ldshim_takes in
                *" $_ldshim_before "*) ;;
                *)
                    _ldshim_way=straight
                    break
                    ;;
                esac
                ;;
            esac
            ;;
        esac
        _ldshim_before=$_ldshim_word
    done
    # What a configure script links is known by the names of what goes in and what comes out (command/probes.py, CONFIGURE): every word that
    # names a file is looked at, up to the first that is nobody's. `came` is none, nothing (/dev/null) or known, `went` none, other or known.
    if [ $_ldshim_way = python ] && [ $# -lt @CONFIGURE_MOST@ ]; then
        _ldshim_before=
        _ldshim_came=none
        _ldshim_went=none
        case $PWD in
        @PLACES@) _ldshim_went=known ;;
        *)
            for _ldshim_word do
                _ldshim_option=$_ldshim_before
                _ldshim_before=
                case $_ldshim_option in
                -o)
                    case $_ldshim_word in
                    @OUTPUTS@) _ldshim_went=known ;;
                    *) _ldshim_went=other ;;
                    esac
                    continue
                    ;;
                esac
                case $_ldshim_word in
                @LINKER_ASKED@) _ldshim_came=known ;;
                -- | -o?* | --ou*)
                    _ldshim_came=other
                    break
                    ;;
                esac
                case $_ldshim_word in
                -?*)
                    _ldshim_before=$_ldshim_word
                    continue
                    ;;
                esac
                case $_ldshim_takes in
                *" $_ldshim_option "*) continue ;;
                esac
                case $_ldshim_word in
                @NOTHING@) [ $_ldshim_came = known ] || _ldshim_came=nothing ;;
                @NEUTRAL@) ;;
                @INPUTS@) _ldshim_came=known ;;
                *)
                    _ldshim_came=other
                    break
                    ;;
                esac
            done
            ;;
        esac
        case $_ldshim_came:$_ldshim_went in
        other:* | none:none | none:other | known:other) ;;
        *) _ldshim_way=straight ;;
        esac
    fi
fi
#[both]
_ldshim_straight "$@"

# Variables by which the dynamic linker and the C library would change what Python loads; Python's part gives them their names back
# (environment.ASIDE).
_ldshim_aside() {
    case @ASIDE_SET@ in
    '') ;;
    *)
        for _ldshim_letter in @ASIDE@; do
            eval "case \${$_ldshim_letter+x} in
            x)
                _LDSHIM_ASIDE_$_ldshim_letter=\$$_ldshim_letter
                export _LDSHIM_ASIDE_$_ldshim_letter
                unset $_ldshim_letter
                ;;
            esac"
        done
        ;;
    esac
}

_ldshim_back() {
    for _ldshim_letter in @ASIDE@; do
        eval "case \${_LDSHIM_ASIDE_$_ldshim_letter+x} in
        x)
            $_ldshim_letter=\$_LDSHIM_ASIDE_$_ldshim_letter
            export $_ldshim_letter
            unset _LDSHIM_ASIDE_$_ldshim_letter
            ;;
        esac"
    done
}

# Tell whether Python starts, by a fork of its own: asked only where there is a reason to doubt it.
_ldshim_starts() {
    _ldshim_forked=yes
    ("$_ldshim_python" $_ldshim_flags -c '' <&- >&- || exit 1) 2>&-
}

#[farm]
# Find the interpreter and the package. One that has changed since this file was written is tried first.
_ldshim_find() {
    _ldshim_python=@PYTHON@
    _ldshim_flags=-IS
    _ldshim_check=@CHECK@
    _ldshim_runs "$_ldshim_python" && [ -f @PACKAGE@/ldshim/entry.py ] || return 1
    if [ "$_ldshim_python" -nt "$0" ] || [ ! -d @LIBRARY@ ] || [ @LIBRARY@ -nt "$0" ]; then
        _ldshim_check=yes
    fi
}
#[command]
# Find the interpreter and the package below the directory $1 of the command.
_ldshim_below() {
    for _ldshim_place in "$1"/../lib/python3*/site-packages "$1"/../lib/python3*/dist-packages "$1"/..; do
        [ -f "$_ldshim_place/ldshim/entry.py" ] || continue
        # Python compiles a package for one version: the one in the directory's name.
        _ldshim_rest=${_ldshim_place%/*}
        _ldshim_rest=${_ldshim_rest##*/}
        case $_ldshim_rest in
        python3*) ;;
        *) _ldshim_rest=python3 ;;
        esac
        # With all of site-packages where pyelftools is elsewhere.
        [ -d "$_ldshim_place/elftools" ] || _ldshim_flags=-I
        for _ldshim_python in "$1/$_ldshim_rest" "$1/python3" "/usr/bin/$_ldshim_rest" "/usr/local/bin/$_ldshim_rest"; do
            ! _ldshim_runs "$_ldshim_python" || return 0
        done
        _ldshim_check=yes
        _ldshim_left=$PATH:
        while [ -n "$_ldshim_left" ]; do
            _ldshim_python=${_ldshim_left%%:*}
            _ldshim_left=${_ldshim_left#*:}
            case $_ldshim_python in
            /*) ! _ldshim_runs "$_ldshim_python/$_ldshim_rest" || break ;;
            esac
            _ldshim_python=
        done
        _ldshim_python=$_ldshim_python/$_ldshim_rest
        _ldshim_runs "$_ldshim_python"
        return
    done
    return 1
}

_ldshim_find() {
    _ldshim_flags=-IS
    _ldshim_check=${LD_LIBRARY_PATH+yes}
    case $0 in
    */*) _ldshim_here=${0%/*} ;;
    *) _ldshim_here=. ;;
    esac
    [ -L "$0" ] || ! _ldshim_below "$_ldshim_here" || return 0
    # A link of any kind: where the command has its own name, as far as that is found without a fork, and where a symbolic link ends.
    _ldshim_links=$PATH:/usr/local/bin:/usr/bin:${HOME:-/root}/.local/bin:
    while [ -n "$_ldshim_links" ]; do
        _ldshim_rest=${_ldshim_links%%:*}
        _ldshim_links=${_ldshim_links#*:}
        [ "$_ldshim_rest/ldshim" -ef "$0" ] || continue
        _ldshim_here=$_ldshim_rest
        ! _ldshim_below "$_ldshim_here" || return 0
    done
    if [ -L "$0" ]; then
        _ldshim_forked=yes
        _ldshim_here=$(command -p readlink -f -- "$0") || return 1
        _ldshim_here=${_ldshim_here%/*}
        ! _ldshim_below "$_ldshim_here" || return 0
    fi
    # An editable install: only the interpreter beside us knows where the package is.
    _ldshim_place=
    _ldshim_flags=-I
    _ldshim_python=$_ldshim_here/python3
    _ldshim_runs "$_ldshim_python"
}
#[both]

# Hand this process over to Python; return where it cannot start. A shell ends when exec fails, so what it would exec is looked at first.
_ldshim_start() {
    _ldshim_forked=
    [ "${_LDSHIM_GONE-}" != $$ ] && [ -f "$0" ] && _ldshim_find || return 0
    _ldshim_aside
    if [ -n "$_ldshim_check" ] && ! _ldshim_starts; then
        # It may be one that needs them.
        _ldshim_back
        _ldshim_starts || return 0
    fi
    #[farm]
    exec "$_ldshim_python" -IS ${_ldshim_forked:+-X ldshim_forked} "$0" "$@"
    #[command]
    # The tool, where it is found without Python: plain_link needs no more to exec it. Not where it would make more of the command line than
    # the first line of this file has.
    _ldshim_search
    [ $((2 * ${#_ldshim_python} + ${#_ldshim_place} + ${#_ldshim_tool} - ${#0})) -lt 160 ] || _ldshim_tool=
    exec "$_ldshim_python" $_ldshim_flags ${_ldshim_place:+-X "ldshim=$_ldshim_place"} ${_ldshim_tool:+-X "ldshim_tool=$_ldshim_tool"} \
        ${_ldshim_forked:+-X ldshim_forked} "$0" ${_ldshim_first:+"$_ldshim_first"} "$@"
    #[both]
}

_ldshim_start "$@"

# The interpreter or the package is gone. The build must not notice more than a line.
_ldshim_said=
[ "${_LDSHIM_GONE-}" != $$ ] || _ldshim_said=yes
unset _LDSHIM_GONE
[ -z "$_ldshim_own" ] || {
    [ -n "$_ldshim_said" ] || printf 'ldshim: interpreter or package not found: %s\n' "$0" >&2
    exit 127
}
#[command]
if [ -n "$_ldshim_pin" ]; then
    eval "_ldshim_tool=\$$_ldshim_variable"
    _ldshim_runs "$_ldshim_tool" && ! _ldshim_is_ours "$_ldshim_tool" "${_ldshim_tool%/*}" || _ldshim_tool=
fi
case $_ldshim_first in
*/*) [ -n "$_ldshim_tool" ] || [ ! -f "$_ldshim_first" ] || [ "$_ldshim_first" -ef "$0" ] || _ldshim_tool=$_ldshim_first ;;
esac
#[farm]
# What is baked in stands for a pin that is of no use.
if [ -z "$_ldshim_tool" ] && _ldshim_runs @REAL@ && ! _ldshim_is_ours @REAL@ @DIRECTORY@; then
    _ldshim_tool=@REAL@
fi
case ${_ldshim_tool##*/} in
lld | rust-lld) ! _ldshim_runs "${_ldshim_tool%/*}/$_ldshim_name" || _ldshim_tool=${_ldshim_tool%/*}/$_ldshim_name ;;
esac
#[both]
_ldshim_walk
if [ -z "$_ldshim_tool" ]; then
    printf 'ldshim: %s: real tool not found: looked in %s; set %s\n' "$_ldshim_name" "$_ldshim_kept" "$_ldshim_variable" >&2
    exit 127
fi
_ldshim_count
case $_ldshim_depth:${_LDSHIM_VIA-} in
9:* | 10:* | *:$$.........*)
    printf 'ldshim: %s: loop: the real tool comes back to ldshim: %s <-> %s\n' "$_ldshim_name" "$_ldshim_tool" "$0" >&2
    exit 111
    ;;
*:$$.*) _LDSHIM_VIA=$_LDSHIM_VIA. ;;
*)
    _LDSHIM_VIA=$$.
    [ $_ldshim_way$_ldshim_said != python ] ||
        printf 'ldshim: %s: interpreter or package is gone, the tool runs unchanged: %s; @HINT@\n' \
            "$_ldshim_name" "${_ldshim_python:-not found}" >&2
    ;;
esac
_ldshim_become "$@"
: <<'# end of what only Python reads'
'''
