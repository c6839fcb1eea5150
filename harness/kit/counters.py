"""Exact counts of what ``generate`` feeds to the model: the same on every machine."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.kit.trial import Trial


class ForwardCounter:
    """Count the forward calls of a model and the tokens each one was fed.

    A context manager around calls of ``model`` (the base model inside a PEFT model). After it,
    ``calls`` is a list with one entry for each forward: ``{"tokens": batch * length fed,
    "cached": positions already in the cache, or None}``. A cache that is silently dropped shows
    as tokens that grow from call to call.
    """

    def __init__(self, model: Any, *, use_cache: bool | None = None, encoders: Mapping[str, Any] | None = None) -> None:
        """Observe ``model``; nothing is attached before the context is entered. ``use_cache`` is what was asked for.

        ``encoders`` are PEFT's, by the adapter's name, which compute a prompt; one that was loaded to be used is read
        where it stands, and is not called.
        """
        self._model, self._use_cache, self._encoders = model, use_cache, encoders or {}
        self.calls: list[dict[str, int | None]] = []
        self.prompts = 0

    def __enter__(self) -> Self:
        """Attach to the forward of the model, and of what computes prompts."""
        self._hooks = [self._model.register_forward_pre_hook(self._observe, with_kwargs=True)]
        self._hooks += [encoder.register_forward_hook(self._count) for encoder in self._encoders.values()]
        return self

    def __exit__(self, *_: object) -> None:
        """Detach."""
        for hook in self._hooks:
            hook.remove()

    def _count(self, *_: object) -> None:
        self.prompts += 1

    def _observe(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # An encoder-decoder is fed what its decoder is fed: the encoder runs once.
        names = ("decoder_input_ids", "inputs_embeds", "input_ids")
        fed = next((kwargs[name] for name in names if kwargs.get(name) is not None), None)
        if fed is None and args:
            fed = args[0]
        tokens = 0 if fed is None else int(fed.shape[0] * fed.shape[1])
        self.calls.append({"tokens": tokens, "cached": cache_length(kwargs.get("past_key_values"))})

    def summary(self) -> dict[str, Any]:
        """Return the counters of a record: calls, tokens fed in all and per call, cache per call."""
        return {
            **({} if self._use_cache is None else {"use_cache": self._use_cache}),
            **({"prompts_computed": self.prompts} if self._encoders else {}),
            "forward_calls": len(self.calls),
            "tokens_fed": sum(call["tokens"] or 0 for call in self.calls),
            "tokens_per_call": [call["tokens"] for call in self.calls],
            "cache_per_call": [call["cached"] for call in self.calls],
        }


@contextmanager
def counted(trial: Trial, model: Any, *, use_cache: bool | None = None) -> Iterator[None]:
    """Count what the base inside a PEFT model is fed, into the counters of the record, also when it fails.

    What the model was fed tells most where it failed: causes are grouped by it (:mod:`harness.judge.causes`).
    """
    encoders = getattr(model, "prompt_encoder", None)
    with ForwardCounter(model.get_base_model(), use_cache=use_cache, encoders=encoders) as counter:
        try:
            yield
        finally:
            trial.counters.update(counter.summary())


def cache_length(past: Any) -> int | None:
    """Return the number of positions in a cache of any release, or None when there is no cache.

    A cache is a tuple of (key, value) per layer in early releases, an object with
    ``get_seq_length`` later. Keys are ``(batch, heads, length, head size)``, except Bloom's of
    before transformers 4.44, ``(batch * heads, head size, length)``: there the value's
    ``(batch * heads, length, head size)`` gives the length.
    """
    if past is None:
        return None
    if hasattr(past, "get_seq_length"):
        return int(past.get_seq_length())
    if not past or past[0] is None:
        return 0
    if not isinstance(past[0], tuple | list):
        # GPTBigCode of before transformers 4.54: key and value in one, ``(batch, length, 2 * head size)``.
        return int(past[0].shape[-2])
    return int(past[0][1].shape[-2])


class OperatorCounter(TorchDispatchMode):  # type: ignore[misc]  # torch is Any where this is checked
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
    """List the tensors in what an operator takes or returns; torch's own flattening took as long as the operators."""
    found, left = [], [tree]
    while left:
        one = left.pop()
        if isinstance(one, torch.Tensor):
            found.append(one)
        elif isinstance(one, tuple | list):
            left.extend(one)
        elif isinstance(one, dict):
            left.extend(one.values())
    return found


def count_operators(call: Callable[[], object]) -> dict[str, Any]:
    """Run ``call`` once and return the entries of a record's counters, or why there are none."""
    try:
        with OperatorCounter() as counter:
            call()
    except Exception as error:  # noqa: BLE001 - counting is beside the check, which has passed
        return {"not_counted": f"{type(error).__name__}: {str(error)[:200]}"}
    return {"operators": counter.operators, "flops": counter.flops, "bytes_allocated": counter.bytes}
