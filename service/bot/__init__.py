"""What the bot answers: a command router, built-in commands, plugins."""
