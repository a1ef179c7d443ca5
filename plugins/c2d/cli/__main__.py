"""``python -m c2d.cli``: the same as the command ``c2d``."""

from c2d.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
