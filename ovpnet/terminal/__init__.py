"""What a person at a terminal sees: words, progress, errors in one line, and pipes that close."""
