"""Alert rules, their tests, runbooks, and the program that writes the rules with your own links."""
