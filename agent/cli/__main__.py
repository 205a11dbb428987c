"""``python -m agent.cli``: runs the command line when ``learnd`` is not on the path."""

from agent.cli.entry import main

if __name__ == "__main__":
    main()
