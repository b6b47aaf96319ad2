"""What is used of Hydra that Hydra calls internal, all of it, so that one test says so if it moves.

`BasicSweeper` is Hydra's own sweeper of grids. Its class is not public, but a grid of ours is to be what a grid of
Hydra is, for every form of its override grammar.
"""

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

__all__ = ["BasicSweeper"]
