"""What the bot answers: a command router, the built-in commands and plugins."""
