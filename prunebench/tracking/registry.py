"""Networks in MLflow's model registry: a version for each network, with what the board says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prunebench.api.errors import TrackingError
from prunebench.tracking.addresses import tracking_uri
from prunebench.tracking.connection import connect, translated
from prunebench.tracking.masks import complete_run
from prunebench.tracking.records import TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER = "network"
"""Of the artifacts of a run: where its registered network is."""
FORBIDDEN = "/:'"
"""MLflow takes no `/` and `:` in the name of a registered model, and its queries no quotes in a text."""
_KEY = TAG + "network"
_VERSIONS = 1000
"""The most versions of one name that are looked at."""


@dataclass(frozen=True)
class Registration:
    """What is said of a network in the registry."""

    name: str
    """Of the registered model, without the characters of FORBIDDEN; each network is a version of it."""
    suite: str
    trial: str
    """Content key of the trial, whose run the network is an artifact of."""
    key: str
    """Content key of the network: a network that is registered under the name already is not registered twice."""
    description: str
    tags: Mapping[str, str]


def register(file: Path, registration: Registration, uri: str | None = None) -> tuple[int, bool]:
    """Attach a network to the run of its trial, and make it a version of a registered model.

    Returns:
        the number of the version, and whether it is new.

    Raises TrackingError when MLflow cannot be reached, has no registry, or has no complete run of the trial.
    """
    uri = tracking_uri(uri)
    with translated(uri):
        client = connect(uri)
        known = _version_of(client, registration)
        if known is not None:
            return known, False
        experiment = client.get_experiment_by_name(f"prunebench/{registration.suite}")
        run = None if experiment is None else complete_run(client, experiment.experiment_id, registration.trial)
        if run is None:
            raise TrackingError(f"{uri} has no complete run of trial {registration.trial}: `prunebench sync` sends it")
        client.log_artifact(run, str(file), FOLDER)
        made = client.create_model_version(
            registration.name,
            source=f"runs:/{run}/{FOLDER}",
            run_id=run,
            tags={**registration.tags, _KEY: registration.key},
            description=registration.description,
        )
    return int(made.version), True


def _version_of(client: MlflowClient, registration: Registration) -> int | None:
    """The version that this network has; the name is registered if it is not yet."""
    named = f"name = '{registration.name}'"
    if not client.search_registered_models(named, max_results=1):
        client.create_registered_model(registration.name)
        return None
    versions = client.search_model_versions(named, max_results=_VERSIONS)
    return next((int(one.version) for one in versions if one.tags.get(_KEY) == registration.key), None)
