"""``python -m agent.cli``: the command line where ``learnd`` is not on the path."""

from agent.cli.entry import main

if __name__ == "__main__":
    main()
