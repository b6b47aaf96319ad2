"""What a run is made of: keys with their bounds, the rules between them, identity, and errors. No torch here."""
