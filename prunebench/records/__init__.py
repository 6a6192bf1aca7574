"""What is recorded, and how: content keys, sources, the environment, results, and files that are written atomically."""

from prunebench.records.environment import cores, describe_environment
from prunebench.records.files import write_store_file

__all__ = ["cores", "describe_environment", "write_store_file"]
