"""Work on the nodes of a Ray cluster: each unit to its end, once, whichever worker or node dies."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tqdm import tqdm

from mesm.runs.extras import install
from mesm.runs.files import write_beside
from mesm.runs.nodes import Place, about, call, kind_of_cpu, versions
from mesm.runs.storage import Store

T = TypeVar("T")
R = TypeVar("R")
TRIES = 3  # of a unit whose worker dies
NODES = 5  # that may die under a unit before it is blamed
KNOCK_SECONDS = 3.0
ANSWER_SECONDS = 120.0  # for a node to start a worker, which imports torch
_POLL_SECONDS = 0.1
_KNOCKS = 3  # in vain, until the cluster's head is given up
_KNOCK_EVERY = 2.0
_WAITING_SECONDS = 30.0
# Before `import ray`: no usage statistics are sent.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Seconds that `ray.init` looks for a node on this machine.
    "RAY_raylet_start_wait_time_s": "5",
}


class HeadError(ConnectionError):
    """The cluster's head is gone, and with it whoever hands out work."""


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Be a driver of a running cluster, of which this machine is a node.

    Args:
        address: HOST:PORT, as `ray start --head` says.

    Raises:
        ValueError: ray is missing, nothing answers there within seconds, the answer is not Ray's or
            of another version, this machine is no node, or the cluster has no core; says the mend.
        HeadError: later, from the block: the head is gone.
    """
    _knock(address)
    os.environ |= {name: os.environ.get(name, value) for name, value in _SETTINGS.items()}
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--ray needs the package ray, on every node: {install('cluster')}"
        ) from error
    _check_health(address)
    _be_quiet()
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            configure_logging=True,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray's layers raise errors of many kinds, all of them refusals
        raise ValueError(_refused(address, error)) from error
    try:
        if not ray.cluster_resources().get("CPU"):
            raise ValueError(f"the cluster at {address} has no core for work: add nodes to it")
        yield Cluster(address)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host or not 0 < int(port) < 65536:
        raise ValueError(
            f"--ray: wanted HOST:PORT, as ray start --head says it, got {address!r}"
            + ("; run the command on a node of the cluster" if "://" in address else "")
        )
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()
    except OSError as error:
        raise ValueError(
            f"no cluster answers at {address} ({error.strerror or error}): start it there (ray "
            f"start --head --port {port}), or name the address that it said"
        ) from None


def _check_health(address: str) -> None:
    """Refuse what listens at an address but is not Ray, which `ray.init` would wait for."""
    import grpc

    channel = grpc.insecure_channel(address)
    try:
        grpc.channel_ready_future(channel).result(timeout=KNOCK_SECONDS)
    except grpc.FutureTimeoutError:
        raise ValueError(
            f"whatever answers at {address} is not a Ray cluster: name the address that ray start "
            "--head said"
        ) from None
    finally:
        channel.close()


def _refused(address: str, error: Exception) -> str:
    said = " ".join(str(error).split())
    if "ersion mismatch" in said:
        return f"the cluster at {address} runs other versions: {said[:300]}; install the same"
    if "raylet" in said.lower() or "node" in said.lower():
        return (
            f"this machine is no node of the cluster at {address}: run ray start --address "
            f"{address} here first"
        )
    return f"the cluster at {address} cannot be used: {said[:300]}"


def _be_quiet() -> None:
    """Keep the raylets' own words off the terminal: who died is told here, in one line."""
    from ray._private import worker

    # No setting of Ray's reaches these messages.
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *said, **how: None


class Node(NamedTuple):
    """A node's share of a cluster."""

    cores: int
    gpus: int


class Cluster:
    """A cluster that this process is connected to."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._place: Place | None = None
        self._knocked = time.monotonic()
        self._silent = 0

    @contextmanager
    def sharing(self, folder: Path | Store, inputs: Sequence[Path | Store] = ()) -> Iterator[None]:
        """Check, before any work, that every node sees a folder and inputs as this machine does.

        Args:
            folder: where this command writes; it is there.
            inputs: what it reads.

        Raises:
            ValueError: a node does not, or has other versions; names it, and the mend.
        """
        content = os.urandom(16).hex()
        place = self._place = Place(str(Path.cwd()), folder, content, tuple(inputs), versions())
        if isinstance(folder, Store):
            folder.write(content.encode(), place.token)
        else:
            write_beside(folder / place.token, content)
        try:
            self._look_around()
            yield
        finally:
            self._place = None
            if isinstance(folder, Store):
                folder.delete([place.token])
            else:
                (folder / place.token).unlink(missing_ok=True)

    def nodes(self) -> list[Node]:
        """The nodes that are alive and have a core."""
        import ray

        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        found = [Node(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in alive]
        return [node for node in found if node.cores]

    def cores(self) -> int:
        """How many cores the nodes that are alive have."""
        return sum(node.cores for node in self.nodes())

    def gpus(self) -> int:
        """How many GPUs the nodes that are alive have."""
        return sum(node.gpus for node in self.nodes())

    def _heard_head(self) -> bool:
        """Knock at the head's door from time to time: Ray, asked for cores, would wait for it.

        Returns:
            Whether it has opened just now.
        """
        if time.monotonic() - self._knocked < _KNOCK_EVERY:
            return False
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()
            self._silent = 0
        except OSError as error:
            self._silent += 1
            if self._silent >= _KNOCKS:
                raise HeadError(
                    f"the cluster's head at {self.address} is gone ({error.strerror or error}): "
                    "start it and its nodes again; the same command goes on where it was"
                ) from None
        self._knocked = time.monotonic()
        return not self._silent

    def _look_around(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = {}
        for node in ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU"):
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                answer: Any = ray.remote(about).options(
                    num_cpus=0, max_retries=2, scheduling_strategy=there
                )
                asked[answer.remote(self._place)] = node["NodeManagerAddress"]
        ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
        if late:
            raise ValueError(
                f"node {asked[late[0]]} gave no answer in {ANSWER_SECONDS:g} s: look at its logs, "
                "or take it out of the cluster"
            )
        kinds = {kind_of_cpu()}
        for answer in ready:
            try:
                kinds.add(ray.get(answer))
            except ray.exceptions.RayTaskError as error:
                raise _cause(error) from None
            except ray.exceptions.TaskUnschedulableError:
                # Ray counts a dead node among the living for some seconds.
                tqdm.write(f"node {asked[answer]} has left the cluster", file=sys.stderr)
            except ray.exceptions.RayError as error:
                said = " ".join(str(error).split())[:200]
                raise ValueError(f"node {asked[answer]} cannot work: {said}") from None
        if len(kinds) > 1:
            tqdm.write(
                f"the nodes' CPUs differ ({', '.join(sorted(kinds))}): the last bits of what "
                "networks compute may depend on the node",
                file=sys.stderr,
            )

    def each(
        self,
        work: Callable[[T], R],
        items: Sequence[T],
        gave_up: Callable[[T, str], R],
        *,
        at_once: int | None = None,
        cores: int = 1,
        gpus: int = 0,
        begun: Callable[[T], object] = lambda item: None,
        put_back: Callable[[T], object] = lambda item: None,
        tick: Callable[[], object] = lambda: None,
    ) -> Iterator[tuple[T, R]]:
        """Do every unit of work on some node; inside of `sharing`.

        A unit whose worker dies is begun anew, `TRIES` times in all; one whose node dies, on
        another node. Where the block is left early, as by Ctrl-C, what runs is cancelled.

        Args:
            work: importable on the nodes; gives what can be pickled.
            items: in the order to begin them.
            gave_up: what stands for the result of a unit that killed its workers, told why.
            at_once: units at a time; None: as many as there is room for.
            cores: of each unit.
            gpus: likewise.
            begun: told of every unit as it is handed out.
            put_back: told of every unit whose worker or node died, and which is to be begun anew.
            tick: called several times a second.

        Yields:
            Each item once, as it is done, with its result.

        Raises:
            Exception: whatever `work` raises, of the first unit that does.
        """
        import ray

        broken = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)
        begin: Any = ray.remote(call).options(num_cpus=cores, num_gpus=gpus, max_retries=0)
        waiting = deque(range(len(items)))
        running: dict[Any, int] = {}
        deaths: Counter[int] = Counter()
        lost: Counter[int] = Counter()
        heard, nodes = time.monotonic(), self.nodes()
        try:
            while waiting or running:
                if self._heard_head():
                    nodes = self.nodes()
                # As many again as can run are queued, and no more: a dead driver leaves few behind.
                room = at_once or 2 * max(1, sum(node.cores for node in nodes) // max(1, cores))
                while waiting and len(running) < room:
                    number = waiting.popleft()
                    running[begin.remote(self._place, work, items[number])] = number
                    begun(items[number])
                done, _ = ray.wait(list(running), timeout=_POLL_SECONDS)
                tick()
                if done:
                    heard = time.monotonic()
                elif time.monotonic() - heard > _WAITING_SECONDS:
                    heard = time.monotonic()
                    self._tell_if_none_fits(nodes, cores, gpus)
                for reference in done:
                    number = running.pop(reference)
                    try:
                        result = ray.get(reference)
                    except broken as error:
                        deaths[number] += 1
                        memory = isinstance(error, ray.exceptions.OutOfMemoryError)
                        reason = "out of memory" if memory else "its worker died"
                        if deaths[number] < TRIES:
                            waiting.append(number)
                            put_back(items[number])
                            continue
                        result = gave_up(items[number], f"{reason} {TRIES} times")
                    except ray.exceptions.RayTaskError as error:
                        raise _cause(error) from None
                    except ray.exceptions.RayError:  # the node died, or took the result with it
                        lost[number] += 1
                        if lost[number] < NODES:
                            waiting.appendleft(number)
                            put_back(items[number])
                            continue
                        result = gave_up(items[number], f"{NODES} nodes died under it")
                    yield items[number], result
        except HeadError:
            running.clear()  # nobody is there to cancel it; workers end with their head
            raise
        finally:
            for reference in running:
                with suppress(Exception):
                    ray.cancel(reference, force=True)

    def _tell_if_none_fits(self, nodes: Sequence[Node], cores: int, gpus: int) -> None:
        if any(node.cores >= cores and node.gpus >= gpus for node in nodes):
            return
        wanted = ("a core" if cores == 1 else f"{cores} cores") + (" and a GPU" if gpus else "")
        tqdm.write(
            f"no node has {wanted}: waiting for nodes to join {self.address}", file=sys.stderr
        )


def _cause(error: Any) -> Exception:
    """The exception that a unit of work raised, without Ray's account of where."""
    cause = error.cause
    return cause if isinstance(cause, Exception) else RuntimeError(str(error))
