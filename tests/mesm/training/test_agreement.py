"""Processes that were started on different things are refused, and told of once."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from mesm.training import agreement
from mesm.training.agreement import check_alike, check_launcher, check_shared, together


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("GRADIENT_ACCUMULATION_STEPS", "2", "--gradient_accumulation_steps (2): a step has"),
        ("DYNAMO_BACKEND", "INDUCTOR", "--dynamo_backend (INDUCTOR): mesm train compiles no"),
        ("USE_FSDP", "true", "--use_fsdp (true): every process of mesm train has the whole"),
        ("USE_DEEPSPEED", "true", "--use_deepspeed (true): every process"),
        ("USE_MEGATRON_LM", "true", "--use_megatron_lm (true): every process"),
        ("USE_PARALLELISM_CONFIG", "true", "--use_parallelism_config (true): every process"),
        ("MIXED_PRECISION", "fp16", "add training.mixed_precision=fp16, or leave the option out"),
    ],
)
def test_what_a_training_would_not_do(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for harmless in ("", "no" if name in ("DYNAMO_BACKEND", "MIXED_PRECISION") else ""):
        monkeypatch.setenv(f"ACCELERATE_{name}", harmless)
        check_launcher("bf16")
    monkeypatch.setenv(f"ACCELERATE_{name}", value)
    with pytest.raises(ValueError) as error:
        check_launcher("bf16")
    assert str(error.value).startswith("accelerate launch --")
    assert said in str(error.value)


def test_the_precision_of_the_settings_may_be_said_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "BF16")
    check_launcher("bf16")


def refusal(check: object, *given: object) -> tuple[str, bool]:
    with pytest.raises((ValueError, OSError)) as error:
        check(*given)  # type: ignore[operator]
    return str(error.value), getattr(error.value, "told_by_another", False)


def one_of_two(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": (folder / "port").read_text()}
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    agreement.SECONDS_TO_SEE = 0.5

    own = folder / f"own{rank}"
    check_shared(folder, accelerator)
    said, told = refusal(check_shared, own, accelerator)
    assert said.endswith(
        f"{folder / 'own1'} is another folder here than for process 0; name one for the run that "
        "lies on a file system which all machines share"
    )
    assert said.startswith("process 1 on ")
    assert told == (rank == 1)
    assert not [*folder.glob(".*.partial"), *own.glob(".*")]

    check_alike({"settings": {"a": 1, "b": 2}, "torch": "2"}, accelerator)
    said, told = refusal(check_alike, {"settings": {"a": 1, "b": rank}}, accelerator)
    assert "has other settings: b (1, of process 0 0); start all processes with the" in said
    said, _ = refusal(check_alike, {"torch": f"2.1{rank}"}, accelerator)
    assert "has another torch (2.11, of process 0 2.10)" in said

    def fail(who: int) -> None:
        with together(accelerator):
            if rank == who:
                raise OSError("the disk is full")

    assert refusal(fail, 0) == ("the disk is full", rank == 1)
    assert refusal(fail, 1)[0].startswith("process 1 on ")
    with together(accelerator):
        pass
    torch.distributed.destroy_process_group()
    (folder / f"done{rank}").touch()


def test_two_processes_agree_or_end_alike(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    for rank in range(2):
        (tmp_path / f"own{rank}").mkdir()
    torch.multiprocessing.spawn(one_of_two, (tmp_path,), nprocs=2)
    assert len([*tmp_path.glob("done*")]) == 2


def test_one_process_agrees_with_itself(tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    check_shared(tmp_path, accelerator)
    check_alike({"settings": {}}, accelerator)
    with pytest.raises(ZeroDivisionError), together(accelerator):
        _ = 1 / 0
