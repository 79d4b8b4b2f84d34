"""The launchers of a link farm and the installed command: one shell script, which is Python as well.

launcher.sh  the shell script, before anything is filled in
text.py      the text of a launcher, and of the command
ldshim       the command, as text.py writes it and pip installs it
"""
