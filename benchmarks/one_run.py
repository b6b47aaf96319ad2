"""A Hydra app that trains one run and stores it, as one would write it for Hydra's own sweeper and launchers."""

import hydra
from omegaconf import DictConfig

from ovpnet.record.store import Store
from ovpnet.run.pack import run_pack
from ovpnet.spec.schemas import conf_dir, register_schemas, resolve

register_schemas()


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
def main(composed: DictConfig) -> None:
    config = resolve(composed)
    Store(config.store).prepare()
    run_pack([config])


if __name__ == "__main__":
    main()
