"""The list of choices in the help of `ovpnet train`, as Hydra finds them: those of a user's --config-dir included.

(Hydra's own list, $APP_CONFIG_GROUPS, has the schemas too, of which nobody chooses.)
"""

import textwrap
from collections.abc import Iterable

from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from omegaconf import OmegaConf

_OURS = ("hydra/launcher", "hydra/sweeper")


def register_choices() -> None:
    """Let a config say ${choices:GROUPS} for the options of each group, a line or two per group."""
    OmegaConf.register_new_resolver("choices", _choices, replace=True)


def _choices(groups: Iterable[str]) -> str:
    loader = GlobalHydra.instance().config_loader()
    # Hydra lists the last one of the defaults first.
    named = [group for group in reversed(list(groups)) if not group.startswith("hydra/")]
    return "\n".join(textwrap.fill(" ".join(loader.get_group_options(group, ObjectType.CONFIG)), width=112,
                                   initial_indent=f"  {group:16}", subsequent_indent=" " * 18)
                     for group in [*named, *_OURS])
