"""The command ``rollcall``: one module per group of commands, imported late so that --help is quick."""
