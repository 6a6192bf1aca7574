"""Room 4: tracking. Results go to MLflow, one run a trial, and come back from it; nothing else here knows MLflow."""

from prunebench.tracking.addresses import URI_VARIABLE, sqlite_uri, tracking_uri
from prunebench.tracking.databases import check_address
from prunebench.tracking.fingerprints import contents
from prunebench.tracking.masks import MaskFile, fetch_masks
from prunebench.tracking.publisher import Publisher
from prunebench.tracking.records import digest
from prunebench.tracking.tracker import Tracker, read_results

__all__ = [
    "URI_VARIABLE",
    "MaskFile",
    "Publisher",
    "Tracker",
    "check_address",
    "contents",
    "digest",
    "fetch_masks",
    "read_results",
    "sqlite_uri",
    "tracking_uri",
]
