"""``python -m siren_ext`` is the same as ``siren-ext``."""

from siren_ext.cli.app import main

if __name__ == "__main__":
    main()
