"""URLs of object storage, and what messages must never show."""

import logging
import sys
import traceback
from types import SimpleNamespace

import pytest

from mesm.runs import extras
from mesm.runs.storage import HIDDEN, Store, check_url, is_url, redact

SECRET = "verySecretValue/12345"


def test_urls_are_told_from_paths():
    assert is_url("s3://bucket/raw")
    assert not is_url("prepared/mini")
    assert not is_url("C:/raw")
    assert check_url("s3://bucket/raw/", "RAW") == "s3://bucket/raw"
    assert check_url("S3://bucket", "RAW") == "s3://bucket"
    assert check_url("abfs://box@account.host/raw", "RAW") == "abfs://box@account.host/raw"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/raw", "no place is read by ftp://"),
        ("file:///raw", "no place is read by file://"),
        (f"s3://AKIAABCDEFGHIJKLMNOP:{SECRET}@bucket/raw", "no credentials belong in a URL"),
        (f"s3://{SECRET.partition('/')[0]}@bucket/raw", "no credentials belong in a URL"),
        (f"s3://bucket/raw?X-Amz-Signature={SECRET}", "without ? and #"),
        ("s3://", "wanted s3://BUCKET/FOLDER"),
        ("s3://bucket/a//b", "without empty names"),
        ("s3://bucket/../b", "without empty names"),
    ],
)
def test_other_urls_are_refused_without_a_word_of_their_credentials(url, said):
    with pytest.raises(ValueError, match="RAW: ") as refusal:
        check_url(url, "RAW")
    assert said in str(refusal.value)
    assert SECRET[:8] not in str(refusal.value)
    assert "AKIA" not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        f"https://host/x?X-Amz-Credential={SECRET}&X-Amz-Signature={SECRET}&a=1",
        f"https://user:{SECRET.replace('/', '')}@host/x",
        f"secret_key: {SECRET}",
        f"token='{SECRET}'",
        f"password={SECRET}",
    ],
)
def test_what_looks_like_a_credential_is_hidden(text):
    assert SECRET[:8] not in redact(text)
    assert HIDDEN in redact(text)


def test_values_of_the_environment_and_of_fsspec_are_hidden(monkeypatch):
    from fsspec.config import conf

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setitem(conf, "s3", {"client_kwargs": {"aws_session_token": "anotherOne"}})
    assert redact(f"wrote {SECRET} and anotherOne") == f"wrote {HIDDEN} and {HIDDEN}"
    assert redact("a bucket in us-east-1") == "a bucket in us-east-1"


def test_a_failure_of_the_storage_is_one_line_without_credentials(monkeypatch, caplog):
    import s3fs

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

    def fail(*given, **named):
        for package in ("gcsfs.retry", "s3fs", "azure.core.pipeline"):
            logging.getLogger(package).error("signing with %s", SECRET)
        raise RuntimeError(f"signing with {SECRET}\nfailed")

    monkeypatch.setattr(s3fs.S3FileSystem, "find", fail)
    with pytest.raises(ValueError, match=r"s3://bucket/raw cannot be listed") as refusal:
        Store("s3://bucket/raw").files()
    assert SECRET not in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert SECRET not in "".join(traceback.format_exception(refusal.value))
    assert not caplog.records


@pytest.mark.parametrize(
    "name", ["a/../../evil.txt", "../evil.txt", "/etc/evil.txt", "a//b.txt", "./b.txt", "a\0b"]
)
def test_an_object_whose_name_leads_out_of_its_folder_is_refused(name, monkeypatch):
    import s3fs

    found = {f"bucket/raw/{key}": {"size": 1, "mtime": 2} for key in ("a/..b/c..txt", "a/", name)}
    monkeypatch.setattr(s3fs.S3FileSystem, "find", lambda *given, **named: found)
    with pytest.raises(ValueError, match=r"^s3://bucket/raw holds the object '.*: rename") as error:
        Store("s3://bucket/raw").files()
    assert repr(name) in str(error.value)
    del found[f"bucket/raw/{name}"]
    assert Store("s3://bucket/raw").files() == {"a/..b/c..txt": (1, 2)}


@pytest.mark.parametrize(
    ("url", "mend"),
    [
        ("s3://bucket/raw", "pip install 'mesm[cluster]'"),
        ("gs://bucket/raw", "pip install gcsfs"),
        ("abfs://box/raw", "pip install adlfs"),
        ("oss://bucket/raw", "pip install ossfs"),
    ],
)
def test_a_package_that_is_missing_is_named(url, mend, monkeypatch):
    from fsspec.registry import _registry as registry

    for name in ("s3fs", "gcsfs", "adlfs", "ossfs"):
        monkeypatch.setitem(sys.modules, name, None)
    wheel = SimpleNamespace(read_text=lambda name: None)
    monkeypatch.setattr(extras.metadata, "distribution", lambda name: wheel)
    monkeypatch.delitem(registry, url.partition(":")[0], raising=False)  # imported before
    with pytest.raises(ValueError, match=r"is missing \(.*\): ") as refusal:
        Store(check_url(url, "RAW")).files()
    assert str(refusal.value).endswith(mend)
