"""The launchers of a link farm: a shell script for compilers, a Python file for linkers.

launcher.sh  the shell script, before anything is filled in
text.py      the text of one launcher
"""
