"""``python -m c2d.cli`` runs the ``c2d`` command."""

from c2d.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
