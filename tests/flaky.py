"""A server that fails now and then: MLflow's own, in this process, behind one that spoils its answers."""

import contextlib
import threading
import time
from collections import Counter

from werkzeug.serving import WSGIRequestHandler, make_server

FAULTS = ("500", "502", "503", "429", "html", "login", "reset", "lost", "slow")


class _Silent(WSGIRequestHandler):
    def log(self, *_):
        pass


class Flaky:
    """MLflow's application; before a request is answered, `fault` is asked for what shall go wrong with it.

    Args:
        fault: of the number of the request, from 0, and its path: one of FAULTS, or nothing.
    """

    def __init__(self, application, fault):
        self._application, self.fault = application, fault
        self.asked, self.faults = 0, Counter()
        self._lock = threading.Lock()

    def __call__(self, environ, start_response):
        with self._lock:
            number, self.asked = self.asked, self.asked + 1
        kind = self.fault(number, environ["PATH_INFO"]) or ""
        self.faults[kind] += 1
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if kind and kind not in ("lost", "slow"):
            environ["wsgi.input"].read(length)
        if kind == "slow":
            time.sleep(0.3)
        if kind in ("", "slow"):
            return self._application(environ, start_response)
        if kind == "lost":  # it is done, and nobody hears of it
            list(self._application(environ, lambda *_: lambda _: None))
        if kind in ("reset", "lost"):
            environ["werkzeug.socket"].shutdown(2)
            raise ConnectionResetError
        status, headers, body = _answer(kind)
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [body]


def _answer(kind):
    page = b"<!DOCTYPE html><html><title>Sign in</title>\n<form>...</form></html>"
    if kind == "html":
        return "200 OK", [("Content-Type", "text/html")], page
    if kind == "login":
        return "401 UNAUTHORIZED", [("Content-Type", "text/html")], page
    return f"{kind} TROUBLE", [("Content-Type", "text/plain"), ("Retry-After", "3600")], b"not now\nperhaps later"


@contextlib.contextmanager
def serving(database, folder, monkeypatch, fault):
    """Serve a database with faults; gives the address, and the application that counts them."""
    import mlflow
    from mlflow.server import (
        ARTIFACT_ROOT_ENV_VAR,
        ARTIFACTS_DESTINATION_ENV_VAR,
        BACKEND_STORE_URI_ENV_VAR,
        SERVE_ARTIFACTS_ENV_VAR,
        app,
        handlers,
    )

    monkeypatch.setenv(BACKEND_STORE_URI_ENV_VAR, database)
    monkeypatch.setenv(ARTIFACT_ROOT_ENV_VAR, "mlflow-artifacts:/")
    monkeypatch.setenv(ARTIFACTS_DESTINATION_ENV_VAR, str(folder))
    monkeypatch.setenv(SERVE_ARTIFACTS_ENV_VAR, "true")
    for name in ("_tracking_store", "_artifact_repo"):
        monkeypatch.setattr(handlers, name, None)
    application = Flaky(app, fault)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", application
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        # The server has made its database the one of this process, and of those that it starts.
        mlflow.set_tracking_uri(None)
