"""`python -m nasrun` is `nasrun`."""

from nasrun.cli.main import main

main()
