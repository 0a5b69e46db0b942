"""`python -m harness.cli`, as the command `harness`."""

from harness.cli import main

main()
