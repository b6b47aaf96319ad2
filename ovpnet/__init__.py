"""ovpnet: does the sample complexity of over-parameterized ReLU networks scale with their width?"""

import os

__version__ = "0.1.0"

# torch's OpenMP threads spin for milliseconds at every barrier by default. Beside another busy process that made
# training 15 times slower (a step at m = 2048: 7.4 ms against 0.5 ms a member, 2 cores); alone it gains nothing.
# Read when torch is first imported, so set here.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
