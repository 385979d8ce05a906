"""Published folders on the Hugging Face Hub, or on a server that HF_ENDPOINT names."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mesm.publishing.contents import FILES

PREFIX = "hub:"
# Failures of this machine's own disk, which are no word of the server's.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
# Modules of what the hub's client speaks HTTP with, whose errors are of no common class.
_HTTP = ("httpx", "httpx2", "httpcore", "requests", "urllib3", "hf_xet")


def hub_name(place: str) -> str | None:
    """USER/NAME of "hub:USER/NAME"; None: it is a folder's path.

    Raises:
        ValueError: the name is none that the hub takes.
    """
    if not place.startswith(PREFIX):
        return None
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    name = place.removeprefix(PREFIX)
    try:
        validate_repo_id(name)
        right = name.count("/") == 1
    except HFValidationError:
        right = False
    if not right:
        raise ValueError(
            f"{place}: wanted hub:USER/NAME, both of letters, digits, -, _ and ., at most 96 in all"
        )
    return name


def upload(folder: Path, name: str, *, private: bool = False) -> str:
    """Send a published folder to the hub.

    The token is the one that `hf auth login` keeps, or HF_TOKEN's.

    Args:
        folder: what `mesm.publishing.publish.publish` wrote.
        name: USER/NAME; made if there is no such model.
        private: whether it must be seen by its owner alone; made so where it is new.

    Returns:
        Its address.

    Raises:
        ValueError: the hub refused or was not reached, says why; or the model is there and public
            where it must be private. Nothing is sent.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _told(name, api.endpoint, "write"):
        made = api.create_repo(name, private=private or None, exist_ok=True)
        # A model that is there stays public, whatever is asked for.
        hidden = not private or api.model_info(name).private is True
    if not hidden:
        raise ValueError(
            f"hub:{name}: is there already, and public; make it private in its settings on "
            f"{api.endpoint}, name another, or leave --private out"
        )
    with _told(name, api.endpoint, "write"):
        api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message="mesm publish",
        )
    return str(made)


def download(name: str) -> Path:
    """Fetch a published model, or what has changed of it, into the hub's cache.

    Args:
        name: USER/NAME.

    Returns:
        The folder, for `mesm.publishing.load.load_published`.

    Raises:
        ValueError: there is no such model, or the hub was not reached; says why.
    """
    from huggingface_hub import HfApi, snapshot_download

    api = HfApi()
    with _told(name, api.endpoint, "read"):
        return Path(snapshot_download(name, allow_patterns=list(FILES), endpoint=api.endpoint))


@contextmanager
def _told(name: str, endpoint: str, doing: str) -> Iterator[None]:
    """Turn the client's errors into one line; `doing` is "read" or "write"."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        of_http = type(error).__module__.partition(".")[0] in _HTTP
        if not of_http and not isinstance(error, OSError | ValueError | HfHubHTTPError):
            raise
        answer = _answer(error)
        # A download's own error only says that the cache has no such model either.
        said = answer if isinstance(error, LocalEntryNotFoundError) else error
        reason = " ".join(str(said).split()) or type(said).__name__
        status = getattr(getattr(answer, "response", None), "status_code", None)
        mend = "see whether it can be reached"
        if status in (401, 403):
            mend = f"log in with `hf auth login`, with a token that may {doing} there"
        elif status == 404:
            mend = "see whether the name is right, and whether you may read it"
        raise ValueError(f"hub:{name}: {endpoint} says: {reason[:300]}; {mend}") from error


def _answer(error: BaseException) -> BaseException:
    """The error or the cause of it that has the server's answer; the error itself if none has."""
    one: BaseException | None = error
    while one is not None and getattr(one, "response", None) is None:
        one = one.__cause__
    return one or error
