"""The masks of trials, as their runs have them in MLflow: files, fetched one by one for as long as they are needed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.api.errors import TrackingError
from prunebench.tracking.addresses import tracking_uri
from prunebench.tracking.connection import connect, translated
from prunebench.tracking.records import TAG, published_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

MASKS, LAYERS = "masks.safetensors", "layers.json"
_LAYERS_LIMIT = 16 * 1024**2
_HEADER, _OF_A_LAYER = 64 * 1024, 1024
"""Bytes that a file of masks may have beside its bits."""
_DOUBLES = 50


@dataclass(frozen=True)
class MaskFile:
    """The masks of a trial: a safetensors file with a tensor of packed bits a layer, and each layer's weights."""

    path: Path
    sizes: Mapping[str, int]


def fetch_masks(suite: str, trials: Sequence[str], folder: Path, uri: str | None = None) -> dict[str, MaskFile]:
    """The masks of these trials by their keys, copied to a folder; a trial that has none is left out.

    Raises TrackingError when MLflow cannot be reached, or when a file is none that a trial leaves.
    """
    uri = tracking_uri(uri)
    found = {}
    with translated(uri):
        client = connect(uri)
        experiment = client.get_experiment_by_name(f"prunebench/{suite}")
        if experiment is None:
            return {}
        for number, trial in enumerate(trials):
            run = complete_run(client, experiment.experiment_id, trial)
            masks = None if run is None else _fetched(client, run, trial, folder / str(number))
            if masks is not None:
                found[trial] = masks
    return found


def complete_run(client: MlflowClient, experiment: str, trial: str) -> str | None:
    """The complete run of a trial."""
    runs = client.search_runs([experiment], f"tags.{TAG}trial = '{trial}'", max_results=_DOUBLES)
    complete = [published for published in map(published_of, runs) if published.complete]
    return max(complete, key=lambda published: (*published.rank, published.run_id)).run_id if complete else None


def _fetched(client: MlflowClient, run: str, trial: str, folder: Path) -> MaskFile | None:
    files = {file.path: file.file_size or 0 for file in client.list_artifacts(run)}
    if not {MASKS, LAYERS} <= files.keys():
        return None
    where = f"run {run} of trial {trial}"
    if files[LAYERS] > _LAYERS_LIMIT:
        raise TrackingError(f"{where}: {LAYERS} is of {files[LAYERS]:,} bytes, far more than layers have")
    folder.mkdir(parents=True)
    layers = Path(client.download_artifacts(run, LAYERS, str(folder)))
    sizes = _sizes(layers.read_bytes(), f"{where}: {LAYERS}")
    most = sum((size + 7) // 8 + _OF_A_LAYER for size in sizes.values()) + _HEADER
    if files[MASKS] > most:
        raise TrackingError(f"{where}: {MASKS} is of {files[MASKS]:,} bytes, and its layers need {most:,} at most")
    return MaskFile(Path(client.download_artifacts(run, MASKS, str(folder))), sizes)


def _sizes(content: bytes, where: str) -> dict[str, int]:
    try:
        layers: Any = json.loads(content)
        sizes = {layer["name"]: layer["total"] for layer in layers}
    except (ValueError, TypeError, KeyError, RecursionError):
        raise TrackingError(f"{where} is no list of layers with names and totals") from None
    if not sizes or not all(isinstance(name, str) and type(n) is int and n > 0 for name, n in sizes.items()):
        raise TrackingError(f"{where} is no list of layers with names and totals")
    return sizes
