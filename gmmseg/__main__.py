"""``python -m gmmseg``: the command line, where scripts are not on the path."""

from gmmseg.cli import main

if __name__ == "__main__":
    main(prog_name="gmmseg")
