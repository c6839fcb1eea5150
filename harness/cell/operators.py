"""Exact counts below the model: operators that torch dispatches, their FLOPs, the bytes they return anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import flop_registry

if TYPE_CHECKING:
    from collections.abc import Callable


class OperatorCounter(TorchDispatchMode):
    """Counts what is dispatched inside its context; the same numbers on every machine of one kind of device.

    FLOPs are those of torch's own formulas (``torch.utils.flop_counter``): products of matrices, convolutions and fused
    attention count, everything else is 0. ``bytes`` are the storages that operators return and were not given:
    what an operator allocates inside itself and frees again is not seen.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        super().__init__()
        self.operators = 0
        self.flops = 0
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator and count it."""
        del types
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.operators += 1
        formula = flop_registry.get(func._overloadpacket)  # noqa: SLF001 - as torch's own counter looks it up
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=result)
        given = {one.untyped_storage().data_ptr() for one in _tensors((args, kwargs))}
        for one in _tensors(result):
            storage = one.untyped_storage()
            if storage.data_ptr() not in given:
                given.add(storage.data_ptr())
                self.bytes += storage.nbytes()
        return result


def _tensors(tree: Any) -> list[Any]:
    return [one for one in tree_flatten(tree)[0] if isinstance(one, torch.Tensor)]


def count_operators(call: Callable[[], object]) -> dict[str, Any]:
    """Run ``call`` once, counted; gives the entries of a record's counters, or why there are none."""
    try:
        with OperatorCounter() as counter:
            call()
    except Exception as error:  # noqa: BLE001 - counting is beside the check, which has passed
        return {"not_counted": f"{type(error).__name__}: {str(error)[:200]}"}
    return {"operators": counter.operators, "flops": counter.flops, "bytes_allocated": counter.bytes}
