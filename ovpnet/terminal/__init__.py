"""What a person at a terminal sees and types: words, commands, choices, progress, errors in one line, closed pipes."""
