"""`python -m ovpnet`: the console command, of an interpreter that is named."""

import sys

from ovpnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
