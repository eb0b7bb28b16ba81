"""Images: which ones the stack needs, getting them, and keeping those of good releases from being pruned.

Each image a release runs gets a tag of ours that is made of its id: `condev-release/core:0123456789ab`. A tag of a
registry may move to another image; ours never does, so a release that is gone back to is what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, cast

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from appliance.deploy.apply.engine import EngineError

KEPT: Final = "condev-release"  # the repository of our own tags
TAG_CHARACTERS: Final = 12  # of the id, as `docker images` shows it
ENGINE_SECONDS: Final = 60  # for one answer; a pull streams and is not bound by it


class _Image(Protocol):
    id: str
    attrs: Mapping[str, Any]

    def tag(self, repository: str, tag: str) -> bool: ...


class _Images(Protocol):
    def get(self, name: str) -> _Image: ...

    def pull(self, repository: str, tag: str) -> _Image: ...

    def remove(self, image: str, noprune: bool) -> None: ...

    def list(self) -> list[_Image]: ...


class _Client(Protocol):
    images: _Images

    def ping(self) -> bool: ...

    def close(self) -> None: ...


class Images:
    """The Docker engine's images."""

    def __init__(self) -> None:
        """Connect to the engine that DOCKER_HOST names, or the machine's own.

        Raises:
            EngineError: there is none, or it does not answer.
        """
        try:
            self._client = cast("_Client", docker.from_env(timeout=ENGINE_SECONDS))
            self._client.ping()
        except (DockerException, OSError) as error:
            raise EngineError(
                f"the Docker engine does not answer ({_brief(error)}): start it (systemctl start docker), "
                "and see that you may use its socket"
            ) from error

    def close(self) -> None:
        """Give back the connection."""
        self._client.close()

    def id_of(self, name: str) -> str:
        """The id of a local image; "" when there is none of this name."""
        try:
            return self._client.images.get(name).id
        except (ImageNotFound, NotFound):
            return ""
        except DockerException as error:
            raise EngineError(f"the image {name} cannot be looked at: {_brief(error)}") from error

    def size(self, name: str) -> int:
        """Bytes of a local image, shared layers included; 0 when there is none."""
        try:
            return int(cast("int", self._client.images.get(name).attrs.get("Size", 0)))
        except DockerException:
            return 0

    def pull(self, name: str) -> str:
        """Fetch an image from its registry; its id.

        Raises:
            EngineError: the registry does not answer, or has no such image.
        """
        repository, _, tag = name.partition("@") if "@" in name else _split_tag(name)
        try:
            return self._client.images.pull(repository, tag or "latest").id
        except (DockerException, OSError) as error:
            raise EngineError(
                f"{name} cannot be pulled ({_brief(error)}): see that this host reaches the registry, or load the "
                "image by hand (docker load --input FILE) and run this again with --no-pull"
            ) from error

    def keep(self, service: str, image_id: str) -> str:
        """Give an image our tag; the reference by which the service runs it."""
        reference = kept_reference(service, image_id)
        if self.id_of(reference) != image_id:
            repository, _, tag = reference.rpartition(":")
            try:
                self._client.images.get(image_id).tag(repository, tag)
            except DockerException as error:
                raise EngineError(f"the image {image_id} cannot be tagged: {_brief(error)}") from error
        return reference

    def kept(self) -> set[str]:
        """All references of ours on this host."""
        try:
            found = [cast("list[str] | None", image.attrs.get("RepoTags")) for image in self._client.images.list()]
        except DockerException as error:
            raise EngineError(f"the images cannot be listed: {_brief(error)}") from error
        return {tag for tags in found for tag in tags or () if tag.startswith(f"{KEPT}/")}

    def drop(self, references: Iterable[str]) -> None:
        """Take our tags away; the image goes with its last tag, unless a container has it."""
        for reference in references:
            if not reference.startswith(f"{KEPT}/"):
                continue
            try:
                self._client.images.remove(reference, noprune=False)
            except (ImageNotFound, NotFound):
                continue
            except APIError as error:
                if error.status_code != 409:  # 409: a container uses it
                    raise EngineError(f"{reference} cannot be removed: {_brief(error)}") from error


def kept_reference(service: str, image_id: str) -> str:
    """Our tag for an image."""
    return f"{KEPT}/{service}:{image_id.removeprefix('sha256:')[:TAG_CHARACTERS]}"


def resolve(
    images: Images, wanted: Mapping[str, str], *, pull: bool, refresh: bool, say: Callable[[str], None]
) -> dict[str, str]:
    """The id of each service's image, fetched where it is not here.

    Args:
        images: the engine's.
        wanted: service → image name.
        pull: fetch what is missing.
        refresh: ask the registry for newer ones of those that are here too; no answer is no reason to stop.
        say: what is being fetched.

    Raises:
        EngineError: one is missing and cannot be fetched, or may not be.
    """
    found: dict[str, str] = {}
    for name in dict.fromkeys(wanted.values()):
        here = images.id_of(name)
        if (here and not (pull and refresh)) or name.startswith(f"{KEPT}/"):
            found[name] = here
        elif pull:
            say(f"pulling {name}")
            try:
                found[name] = images.pull(name)
            except EngineError as error:
                if not here:
                    raise
                say(f"keeping the {name} that is here: {error}")
                found[name] = here
    missing = sorted(name for name in wanted.values() if not found.get(name))
    if missing:
        raise EngineError(
            f"not on this host: {', '.join(dict.fromkeys(missing))}; load them (docker load --input FILE), "
            "or leave out --no-pull"
        )
    return {service: found[name] for service, name in wanted.items()}


def _split_tag(name: str) -> tuple[str, str, str]:
    """Repository and tag; a colon before the last slash is a registry's port."""
    head, colon, tag = name.rpartition(":")
    return (head, colon, tag) if colon and "/" not in tag else (name, "", "")


def _brief(error: Exception) -> str:
    text = str(getattr(error, "explanation", None) or error)
    return " ".join(text.split())[:300]
