"""Results go to MLflow, one run a trial, and come back from it; no other package imports MLflow."""

from prunebench.tracking.addresses import URI_VARIABLE, sqlite_uri, tracking_uri
from prunebench.tracking.databases import check_address
from prunebench.tracking.fingerprints import contents
from prunebench.tracking.masks import MaskFile, fetch_masks
from prunebench.tracking.publisher import Publisher
from prunebench.tracking.records import digest
from prunebench.tracking.registry import FORBIDDEN, Registration, register
from prunebench.tracking.tracker import Tracker, read_results

__all__ = [
    "FORBIDDEN",
    "URI_VARIABLE",
    "MaskFile",
    "Publisher",
    "Registration",
    "Tracker",
    "check_address",
    "contents",
    "digest",
    "fetch_masks",
    "read_results",
    "register",
    "sqlite_uri",
    "tracking_uri",
]
