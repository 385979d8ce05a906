"""Files on object storage, by fsspec; no message ever shows a credential."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from mesm.runs.extras import install

# Where an object appears whole or not at all.
SCHEMES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss")
# The package of fsspec for each, where it is not in the extra.
_PACKAGES = dict.fromkeys(("gs", "gcs"), "gcsfs") | dict.fromkeys(("abfs", "abfss", "az"), "adlfs")
_PACKAGES["oss"] = "ossfs"
# Packages that log what went wrong, which a message says anyway, with all that a request held.
_LOGGERS = (
    "s3fs",
    "gcsfs",
    "adlfs",
    "ossfs",
    "fsspec",
    "aiobotocore",
    "google",
    "azure",
    "urllib3",
)
HIDDEN = "***"
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE | re.DOTALL)
# Names of settings and of variables of the environment whose values are nobody's business.
_SECRET = re.compile(r"key|secret|token|passw|credential|connection|signature|auth", re.IGNORECASE)
_SERVICES = ("AWS_", "AZURE_", "GOOGLE_", "GCS_", "OSS_", "FSSPEC_", "S3_")
_LEAST = 4  # letters; hiding shorter values would blacken words
_TRACES = (
    (re.compile(r"(\w+://)[^/@\s]+@"), rf"\1{HIDDEN}@"),
    (
        re.compile(
            r"(?i)((?:x-amz-)?(?:signature|credential|security-token)|awsaccesskeyid|sig|"
            r"secret\w*|token|password)(['\"]?\s*[=:]\s*['\"]?)[^&\s,;'\"]+"
        ),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}\b"), HIDDEN),
)


class Stamp(NamedTuple):
    """Size in bytes of an object, and when it was written, in seconds."""

    size: int
    time: int


def is_url(text: str) -> bool:
    """Whether a command's argument names a place by a scheme, such as s3://bucket/raw."""
    return _URL.match(text) is not None


def check_url(text: str, what: str) -> str:
    """Check a URL of a folder on object storage.

    Args:
        text: as it was given.
        what: which argument, for the message.

    Returns:
        The URL, without a slash at its end.

    Raises:
        ValueError: another scheme, no bucket, or credentials in it, which are not shown.
    """
    match = _URL.match(text)
    scheme, rest = (match[1].lower(), match[2]) if match else ("", "")
    if scheme not in SCHEMES:
        raise ValueError(
            f"{what}: no place is read by {redact(scheme)}://; wanted a folder, or one of "
            f"{', '.join(f'{name}://' for name in SCHEMES)}"
        )
    bucket = rest.partition("/")[0]
    # An Azure container stands before an @; whatever follows a colon is a key.
    if ":" in bucket or ("@" in bucket and not scheme.startswith("abfs")):
        raise ValueError(
            f"{what}: no credentials belong in a URL: leave them out of it, and set them as your "
            "storage's own variables (AWS_ACCESS_KEY_ID, ...) or files say"
        )
    if not bucket or "?" in rest or "#" in rest:
        raise ValueError(f"{what}: wanted {scheme}://BUCKET/FOLDER, without ? and #")
    if any(part in ("", ".", "..") for part in rest.rstrip("/").split("/")):
        raise ValueError(f"{what}: wanted {scheme}://BUCKET/FOLDER, without empty names and dots")
    return f"{scheme}://{rest.rstrip('/')}"


def redact(text: str) -> str:
    """Hide in a message whatever may be a credential."""
    for value in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    for pattern, hidden in _TRACES:
        text = pattern.sub(hidden, text)
    return text


def _secrets() -> set[str]:
    found = {
        value
        for name, value in os.environ.items()
        if name.startswith(_SERVICES) and _SECRET.search(name) and not name.endswith("_URL")
    }
    with suppress(ImportError):
        from fsspec.config import conf

        found |= set(_secret_values(conf))
    return {value for value in found if len(value) >= _LEAST}


def _secret_values(settings: Mapping[str, Any], inside: bool = False) -> Iterator[str]:
    for name, value in settings.items():
        secret = inside or _SECRET.search(str(name)) is not None
        if isinstance(value, Mapping):
            yield from _secret_values(value, secret)
        elif secret and isinstance(value, str):
            yield value


@dataclass(frozen=True)
class Store:
    """A folder on object storage; sent to other processes, which use credentials of their own.

    Attributes:
        url: as `check_url` gives it.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def files(self) -> dict[str, Stamp]:
        """Every object of the folder by its path in it.

        Raises:
            ValueError: the storage cannot be read, or an object's name is no path in a folder.
        """
        with self._told("listed"):
            system, root = self._opened()
            found = system.find(root, detail=True)
        stamps = {}
        for path, about in sorted(found.items()):
            name = path.removeprefix(root).removeprefix("/")
            if name and not name.endswith("/"):  # which are folders to some tools
                self._check_name(name)
                stamps[name] = Stamp(int(about["size"]), _seconds(about))
        return stamps

    def _check_name(self, name: str) -> None:
        """Refuse a name, which may be anybody's, that would lead a file out of its folder."""
        if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
            raise ValueError(
                f"{self.url} holds the object {name[:80]!r}, and no file in a folder can be named "
                "so: rename or delete the object"
            )

    def stamp(self, name: str) -> Stamp | None:
        """Size and time of an object; None: there is none."""
        with self._told("looked at", name):
            system, root = self._opened()
            try:
                about = system.info(f"{root}/{name}")
            except FileNotFoundError:
                return None
        return Stamp(int(about["size"]), _seconds(about)) if about["type"] == "file" else None

    def read(self, name: str) -> bytes | None:
        """Read an object; None: there is none."""
        with self._told("read", name):
            system, root = self._opened()
            try:
                return bytes(system.cat_file(f"{root}/{name}"))
            except FileNotFoundError:
                return None

    def get(self, name: str, file: Path, stamp: Stamp | None = None) -> None:
        """Fetch an object: the file is there whole or not at all, of the object's time."""
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{os.urandom(4).hex()}.partial")
        try:
            with self._told("read", name):
                system, root = self._opened()
                system.get_file(f"{root}/{name}", str(beside))
            if stamp is not None:
                size = beside.stat().st_size
                if size != stamp.size:
                    raise OSError(
                        f"{self.url}/{name} has {size} bytes, {stamp.size} when it was listed: "
                        "leave the corpus alone, and run the same command again"
                    )
                os.utime(beside, (stamp.time, stamp.time))
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)

    def put(self, file: Path, name: str) -> None:
        """Write a file as an object, which appears whole or not at all."""
        size = file.stat().st_size
        with self._told("written", name):
            system, root = self._opened()
            system.put_file(str(file), f"{root}/{name}")
            there = int(system.info(f"{root}/{name}")["size"])
        if there != size:
            raise OSError(f"{self.url}/{name} has {there} bytes there, {size} here: write it again")

    def write(self, content: bytes, name: str) -> None:
        """Write bytes as an object."""
        with self._told("written", name):
            system, root = self._opened()
            system.pipe_file(f"{root}/{name}", content)

    def delete(self, names: list[str]) -> None:
        """Delete objects; those that are not there are passed over."""
        with self._told("deleted"):
            system, root = self._opened()
            for name in names:
                with suppress(FileNotFoundError):
                    system.rm_file(f"{root}/{name}")

    def _opened(self) -> tuple[Any, str]:
        import fsspec

        scheme, _, rest = self.url.partition("://")
        return fsspec.filesystem(scheme, use_listings_cache=False), rest

    @contextmanager
    def _told(self, done: str, name: str = "") -> Iterator[None]:
        """Turn whatever a storage's library raises into one line without credentials."""
        for package in _LOGGERS:
            logging.getLogger(package).setLevel(logging.CRITICAL)
        try:
            yield
        except ImportError as error:
            scheme = self.url.partition("://")[0]
            wanted = _PACKAGES.get(scheme)
            which = f"pip install {wanted}" if wanted else install("cluster")
            said = redact(" ".join(str(error).split()))
            message = f"{self.url}: the package for {scheme}:// is missing ({said}): {which}"
        except Exception as error:  # storage's packages have kinds of their own, and may quote keys
            said = redact(" ".join(str(error).split()))[:300]
            place = f"{self.url}/{name}" if name else self.url
            message = (
                f"{place} cannot be {done} ({type(error).__name__}: {said}): check the place, the "
                "credentials and the network, then run the same command again"
            )
        else:
            return
        raise ValueError(message) from None  # a traceback would show the library's own words


def _seconds(about: Mapping[str, Any]) -> int:
    """When an object was written, by any of the names that storages have for that."""
    for name in ("LastModified", "mtime", "updated", "last_modified", "created"):
        value = about.get(name)
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return int(value.timestamp())
        if isinstance(value, int | float):
            return int(value)
    return 0
