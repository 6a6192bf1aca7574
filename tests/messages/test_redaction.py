"""Secrets are hidden wherever they are quoted, and nothing else is."""

import json

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine

from prunebench.messages.redaction import redacted, redacted_all


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://***@host/db"),
        ("https://t0ken@host:5000", "https://***@host:5000"),
        ("GET http://me:p@ss@host/x failed", "GET http://***@host/x failed"),
        ("GET http://me:p/a/ss@host/x failed", "GET http://***@host/x failed"),
        ("mysql://me:12/34@host:3306/db", "mysql://***@host:3306/db"),
        ("postgresql://me:two words and@more@host/db is away", "postgresql://***@host/db is away"),
        ("postgresql://me:a:b?c#d@host/db", "postgresql://***@host/db"),
        ("postgresql://me:p%40ss%2F@host/db", "postgresql://***@host/db"),
        ("postgresql://host/db?user=me&password=s3cret", "postgresql://host/db?user=me&password=***"),
        ("https://host/x?token=abc&y=1", "https://host/x?token=***&y=1"),
        ("https://acc.blob/x?sv=1&sig=a%2Bb%3D&se=2", "https://acc.blob/x?sv=1&sig=***&se=2"),
        ("s3 https://b/x?X-Amz-Signature=abc&X-Amz-Date=1", "s3 https://b/x?X-Amz-Signature=***&X-Amz-Date=1"),
        (
            "https://b/x?X-Amz-Credential=AK%2F1&X-Amz-Security-Token=zz",
            "https://b/x?X-Amz-Credential=***&X-Amz-Security-Token=***",
        ),
        ("AccountName=n;AccountKey=abc/+==;EndpointSuffix=e", "AccountName=n;AccountKey=***;EndpointSuffix=e"),
        ("next=https%3A%2F%2Fh%2F%3Fsig%3Dabc%26x%3D1", "next=https%3A%2F%2Fh%2F%3Fsig%3D***%26x%3D1"),
        ("MLFLOW_TRACKING_PASSWORD=abc prunebench run x.yaml", "MLFLOW_TRACKING_PASSWORD=*** prunebench run x.yaml"),
        ("connect(host='h', password='two words', port=1)", "connect(host='h', password=***, port=1)"),
        ("Driver=x;PWD={a b;c};Server=s", "Driver=x;PWD=***;Server=s"),
        ('{"user": "me", "api_key": "abc def"}', '{"user": "me", "api_key": ***}'),
        ("{'Authorization': 'Bearer abcdef.ghi'}", "{'Authorization': ***}"),
        ("Authorization: Basic bWU6czNjcmV0", "Authorization: Basic ***"),
        ("remote: https://x-access-token:ghp_abc@github.com/a/b.git", "remote: https://***@github.com/a/b.git"),
        ("cloned with ghp_0123456789abcdefghij there", "cloned with *** there"),
    ],
)
def test_secrets_are_hidden(text, shown):
    assert redacted(text) == shown
    assert redacted(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000/a@b",
        "http://host:5000 is away, ask admin@example.org",
        "http://host:5000: refused; write to me@example.org",
        "sqlite:////home/me@work/a:b@c/mlflow.db",
        "ticket ../t.safetensors@sha256:" + "a" * 64,
        "--set tasks.recipe.epochs=2 --only method=imp,seed=0",
        "accuracy 0.5 at 90 %: out of memory (mine.py:12)",
        "monkey=1, keys: a, b; token budget: 5 tokens",
        "git@github.com:org/repo.git",
        "basic block 3, bearer",
        "hf_hub, sk-learn, dapi",
        "KeyError: 'key=value'",
    ],
)
def test_ordinary_text_stays(text):
    assert redacted(text) == text


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), min_size=3, max_size=20))
def test_any_password_of_an_address_is_hidden(password):
    for at in ("postgresql://me:{}@host:5432/db", "MLflow at mysql+pymysql://me:{}@host/db: it is away"):
        secret = f"x{password}"
        shown = redacted(at.format(secret.replace("://", ":/")))
        assert shown == at.replace("me:{}@", "***@")


def test_what_libraries_quote_is_hidden():
    with pytest.raises(requests.RequestException) as caught:
        requests.get("http://me:s3cret@127.0.0.1:9/x?token=t0k3n", timeout=1)
    assert not {"s3cret", "t0k3n"} & set(redacted(str(caught.value)).replace("=", " ").replace(":", " ").split())
    assert "t0k3n" not in redacted(str(caught.value))
    assert "s3cret" not in redacted(str(create_engine("sqlite://").url.set(password="s3cret").render_as_string(False)))


def test_secrets_of_the_environment_are_hidden_wherever_they_are(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "q7/Zk w")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hunter2@@host/db")
    monkeypatch.setenv("HARMLESS", "monkey")
    said = 'FATAL: password "hunter2@" for me, header q7/Zk w or q7%2FZk+w by a monkey'
    assert redacted(said) == 'FATAL: password "***" for me, header *** or *** by a monkey'


def test_every_text_of_a_value_is_redacted():
    value = {"reason": "x://a:b@c", "lines": ["token=abc", 3], "n": None}
    assert redacted_all(value) == {"reason": "x://***@c", "lines": ["token=***", 3], "n": None}
    json.dumps(redacted_all(value))
