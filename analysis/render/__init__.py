"""Renderers of exhibits, one for each medium. None knows any single exhibit, only the vocabulary they are made of."""
