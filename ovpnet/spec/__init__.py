"""The description of a run: keys with their bounds, the rules between them, identity, and errors. No torch here."""
