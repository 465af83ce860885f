"""`python -m understudy` and the `understudy` command."""

from __future__ import annotations


def main() -> None:
    from understudy.cli.main import run

    run()


if __name__ == "__main__":
    main()
