"""`python -m lmcnb`: the command line without the installed script."""

from lmcnb.cli import main

main(prog_name="lmcnb")
