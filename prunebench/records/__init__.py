"""Records: content keys, hashes of source code, the environment, results, and atomic files."""

from prunebench.records.environment import cores, describe_environment
from prunebench.records.files import write_store_file

__all__ = ["cores", "describe_environment", "write_store_file"]
