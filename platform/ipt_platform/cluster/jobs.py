"""Ray's Jobs API: what is submitted to a cluster, how it gets on, and how it is ended at once."""

import contextlib
import functools
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from ray._private.runtime_env import packaging
from ray.dashboard.modules import dashboard_sdk
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient
from ray.util.state.api import StateApiClient, StateResource
from ray.util.state.common import ListApiOptions
from ray.util.state.exception import RayStateApiException

import ipt_platform
from ipt_platform.cluster.target import ADDRESS_VARIABLE, Target
from ipt_platform.errors import InfrastructureError, NotFoundError, RefusedError

OVER = {"SUCCEEDED", "FAILED", "STOPPED"}
"""States of a submission from which nothing follows."""

_ADDRESSES = ("RAY_API_SERVER_ADDRESS", ADDRESS_VARIABLE)

_ENVIRONMENT = {
    "excludes": ["**/__pycache__/**"],
    # The versions of what the platform needs are those of the cluster's image; the platform itself is that of the client.
    "py_modules": [str(Path(ipt_platform.__file__).parent)],
}


@dataclass(frozen=True)
class Submission:
    """Something that was submitted to a cluster.

    Attributes:
        id: Ray's name of it.
        state: as Ray says it: PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED.
        run: the run that it brings to its end ("": somebody else's job).
        path: folder of that run.
        owner: who submitted it.
        project: who pays for it.
        message: what Ray says of its state.
        exit_code: of its command; None: not over, or not known.
    """

    id: str
    state: str
    run: str = ""
    path: str = ""
    owner: str = ""
    project: str = ""
    message: str = ""
    exit_code: int | None = None

    @property
    def over(self) -> bool:
        """Whether nothing follows."""
        return self.state in OVER


class Jobs:
    """The Jobs API of a cluster.

    Raises:
        InfrastructureError: every method: the cluster cannot be reached, or does not do what it is asked for.
        RefusedError: every method: it does not accept the token.
    """

    def __init__(self, target: Target):
        self.target = target

    @functools.cached_property
    def client(self) -> JobSubmissionClient:
        """A connection, which is made when it is needed first."""
        for module in (dashboard_sdk, packaging):  # which tell of every package that they make
            logging.getLogger(module.__name__).setLevel(logging.WARNING)
        with self._asked(), self._of_ray(), _as_given():
            return JobSubmissionClient(self.target.address, headers=self._headers)

    def submit(self, identity: str, command: str, metadata: dict[str, str], cpus: float = 0) -> None:
        """Let the cluster run a command, with this package in its environment, whether or not anybody waits for it.

        Args:
            identity: Ray's name of it; none that was used before.
            command: for the shell.
            metadata: what is told of it (`run`, `path`, `owner`, `project`).
            cpus: what the command itself takes; what it asks Ray for is not counted.
        """
        with self._asked():
            self.client.submit_job(
                submission_id=identity,
                entrypoint=command,
                runtime_env=dict(_ENVIRONMENT),
                metadata=metadata,
                entrypoint_num_cpus=cpus or None,
            )

    def all(self) -> list[Submission]:
        """Everything that was submitted, in no order."""
        with self._asked():
            return [_submission(each) for each in self.client.list_jobs() if each.submission_id]

    def running(self) -> list[Submission]:
        """What is not over."""
        return [each for each in self.all() if not each.over]

    def find(self, identity: str) -> Submission:
        """One submission.

        Raises:
            NotFoundError: the cluster does not know it; it was started anew since.
        """
        with self._asked():
            try:
                return _submission(self.client.get_job_info(identity))
            except RuntimeError as error:
                if "failed with status code 404" in str(error):  # other words of it may hold any number, such as a time
                    raise NotFoundError(
                        f"cluster {self.target.name} knows no submission {identity}; was it started anew?"
                    ) from error
                raise

    def log(self, identity: str) -> str:
        """What the command has printed, and what Ray says of its beginning."""
        with self._asked():
            return self.client.get_job_logs(identity)

    def stop(self, identity: str) -> None:
        """End the command and its processes: SIGTERM, and SIGKILL some seconds later."""
        with self._asked():
            self.client.stop_job(identity)

    def nodes(self) -> list[dict[str, Any]]:
        """The machines of the cluster, as Ray's state API has them."""
        with self._asked(), _as_given():
            options = ListApiOptions(detail=True)  # pyright: ignore[reportCallIssue] (it is a dataclass by a way of its own)
            states = StateApiClient(address=self.target.address, headers=self._headers)
            found: Any = states.list(StateResource.NODES, options, raise_on_missing_output=False)
        return [each if isinstance(each, dict) else each.asdict() for each in found]

    def version(self) -> str:
        """Of the cluster's Ray."""
        with self._asked(), self._of_ray():
            answer = requests.get(
                f"{self.target.address}/api/version",
                headers=self._headers,
                timeout=10,
            )
            answer.raise_for_status()
            return answer.json()["ray_version"]

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.target.token}"} if self.target.token else {}

    @property
    def _where(self) -> str:
        return f"cluster {self.target.name} at {self.target.address}"

    @contextlib.contextmanager
    def _of_ray(self) -> Iterator[None]:
        """Asks for the version, which another web server does not tell."""
        try:
            yield
        except (KeyError, TypeError, requests.exceptions.JSONDecodeError) as error:
            raise InfrastructureError(f"{self._where} answers, but not as Ray's dashboard; is the address right?") from error

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        where = self._where
        try:
            yield
        except AuthenticationError as error:
            raise RefusedError(
                f"{where} does not accept the token, which is from {self.target.token_from}; "
                "ask whoever runs the cluster for it"
            ) from error
        except requests.exceptions.InvalidHeader:  # which repeats the token
            raise RefusedError(f"{where}: the token, which is from {self.target.token_from}, cannot be sent") from None
        except (ConnectionError, requests.RequestException, RayStateApiException) as error:
            doctor = "ipt-platform doctor" + ("" if self.target.name == ADDRESS_VARIABLE else f" --cluster {self.target.name}")
            raise InfrastructureError(
                f"{where} cannot be reached ({_why(error)}); is it running, and is the address right? `{doctor}` looks further"
            ) from error
        except RuntimeError as error:
            raise InfrastructureError(f"{where}: {_why(error)}") from error


@contextlib.contextmanager
def _as_given() -> Iterator[None]:
    """Hide the variables that Ray takes for the address whatever it is given: the token of one cluster would go to another."""
    hidden = {name: os.environ.pop(name) for name in _ADDRESSES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _submission(details: Any) -> Submission:
    metadata = details.metadata or {}
    return Submission(
        details.submission_id,
        str(getattr(details.status, "value", details.status)),
        metadata.get("run", ""),
        metadata.get("path", ""),
        metadata.get("owner", ""),
        metadata.get("project", ""),
        details.message or "",
        details.driver_exit_code,
    )


def _why(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
