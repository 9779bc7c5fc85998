"""`python -m davserver` is the command `davserver`."""

from __future__ import annotations

from davserver.cli.main import main

if __name__ == "__main__":
    main(prog_name="davserver")
