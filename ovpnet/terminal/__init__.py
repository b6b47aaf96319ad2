"""The terminal: words, commands, choices, progress, errors in one line, closed pipes."""
