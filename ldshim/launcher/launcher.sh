#!/bin/sh
# @MAGIC@
# Written by `ldshim link-farm` for @NAME@ and replaced by `ldshim link-farm --refresh`; the commented text is ldshim/launcher/launcher.sh.
#
# The problem: set as CC= in kbuild, a compiler's stand-in runs for every object, and Python takes six times as long to start as a shell.
# The consequence: this file. It execs the real tool for every call that certainly does not link, without a fork and without Python, and
# hands the rest to Python, which looks again with the same lists (ldshim/command/probes.py; link-farm fills them in here).
# A launcher for a linker is a Python file; it is this one only where the interpreter's path does not fit behind `#!`.
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
_ldshim_before=
_ldshim_doubt=
_ldshim_ours=

_ldshim_tool=@REAL@
case ${@VARIABLE@-} in
'') ;;
# A pin is Python's to refuse, in words; here it is only not followed into a directory of ours.
/*)
    _ldshim_tool=$@VARIABLE@
    [ ! -e "${_ldshim_tool%/*}/@MARK@" ] || _ldshim_tool=
    ;;
*) _ldshim_tool= ;;
esac
[ -f "$_ldshim_tool" ] && [ -x "$_ldshim_tool" ] || _ldshim_tool=

# Drop the directories from PATH that are ours and hold this name; where no tool is known yet, take the first that is left.
_ldshim_walk() {
    _ldshim_kept=
    _ldshim_rest=$PATH:
    while [ -n "$_ldshim_rest" ]; do
        _ldshim_entry=${_ldshim_rest%%:*}
        _ldshim_rest=${_ldshim_rest#*:}
        if [ -e "${_ldshim_entry:-.}/@MARK@" ] && [ -e "${_ldshim_entry:-.}"/@NAME@ ]; then
            _ldshim_ours=yes
            continue
        fi
        _ldshim_kept=$_ldshim_kept:$_ldshim_entry
        if [ -z "$_ldshim_tool" ] && [ -f "${_ldshim_entry:-.}"/@NAME@ ] && [ -x "${_ldshim_entry:-.}"/@NAME@ ]; then
            case $_ldshim_entry in
            /*) _ldshim_tool=$_ldshim_entry/@NAME@ ;;
            *) _ldshim_tool=$PWD/$_ldshim_entry/@NAME@ ;;
            esac
        fi
    done
    [ -z "$_ldshim_ours" ] || PATH=${_ldshim_kept#:}
}

# Become the real tool, unless Python has to look first: for a link, for a pin it must refuse, for what may be a loop.
_ldshim_become() {
    case $_ldshim_way:$_ldshim_tool:${_LDSHIM_VIA-} in
    python:* | straight::* | straight:*:$$.*) return ;;
    esac
    _ldshim_count
    [ $_ldshim_depth -lt 9 ] || return
    _ldshim_walk
    _LDSHIM_VIA=$$. _LDSHIM_DEPTH=$_ldshim_depth:$_ldshim_tool
    export _LDSHIM_VIA _LDSHIM_DEPTH
    exec "$_ldshim_tool" "$@"
}

# Count the calls above this one that were handed to the same tool, and this one.
_ldshim_count() {
    _ldshim_depth=1
    case ${_LDSHIM_DEPTH-} in
    [1-9]:"$_ldshim_tool") _ldshim_depth=$((${_LDSHIM_DEPTH%%:*} + 1)) ;;
    esac
}

case ${LDSHIM_DISABLE-} in
1) _ldshim_way=straight ;;
esac
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
            *) _ldshim_doubt=yes ;;
            esac
            ;;
        esac
        _ldshim_before=$_ldshim_word
    done
fi
_ldshim_become "$@"

if [ -n "$_ldshim_doubt" ] && [ $_ldshim_way = python ]; then
    _ldshim_before=
    for _ldshim_word do
        case $_ldshim_word in
        --) break ;;
        @PROBES@)
            case $_ldshim_before in
            @*) ;;
            *)
                case '@TAKES_NEXT@' in
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
    _ldshim_become "$@"
fi

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
            case '@TAKES_NEXT@' in
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
    _ldshim_become "$@"
fi

# A shell ends when exec fails, so what it would exec is looked at first.
if [ -x @PYTHON@ ] && [ -r @PACKAGE@/ldshim/entry.py ]; then
    exec @PYTHON@ -IS -c @CODE@ "$0" "$@"
fi

# The interpreter or the package is gone. The build must not notice more than a line.
if [ -z "$_ldshim_tool" ] && [ -f @REAL@ ] && [ -x @REAL@ ]; then
    _ldshim_tool=@REAL@
fi
_ldshim_walk
if [ -z "$_ldshim_tool" ]; then
    printf 'ldshim: %s: real tool not found: looked in %s; set @VARIABLE@\n' @NAME@ "$PATH" >&2
    exit 127
fi
_ldshim_count
case $_ldshim_depth:${_LDSHIM_VIA-} in
9:* | 10:* | *:$$.........*)
    printf 'ldshim: %s: loop: the real tool comes back to ldshim: %s <-> %s\n' @NAME@ "$_ldshim_tool" "$0" >&2
    exit 111
    ;;
*:$$.*) _LDSHIM_VIA=$_LDSHIM_VIA. ;;
*)
    _LDSHIM_VIA=$$.
    [ $_ldshim_way = straight ] ||
        printf 'ldshim: %s: interpreter or package is gone, the tool runs unchanged: %s; run ldshim link-farm --refresh\n' \
            @NAME@ @PYTHON@ >&2
    ;;
esac
_LDSHIM_DEPTH=$_ldshim_depth:$_ldshim_tool
export _LDSHIM_VIA _LDSHIM_DEPTH
exec "$_ldshim_tool" "$@"
