"""`python -m sodate.cli`, where no script was installed."""

from sodate.cli import main

main()
