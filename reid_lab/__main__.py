"""`python -m reid_lab` is the `reid-lab` command."""

from reid_lab.cli import main

main()
