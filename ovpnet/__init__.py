"""ovpnet: does the sample complexity of over-parameterized ReLU networks scale with their width?"""

__version__ = "0.1.0"
