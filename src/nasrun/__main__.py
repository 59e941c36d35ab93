"""`python -m nasrun` is `nasrun`."""

from nasrun.cli import main

main()
