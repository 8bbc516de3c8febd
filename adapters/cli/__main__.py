"""`python -m adapters.cli`: the same as the `huddle` command."""

from adapters.cli.main import main

main()
