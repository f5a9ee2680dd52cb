"""``python -m kdstats`` is the command ``kdstats``."""

from kdstats.cli import main

if __name__ == "__main__":
    main()
