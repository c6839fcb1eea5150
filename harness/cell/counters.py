"""Exact counts of what ``generate`` feeds to the model: the same on every machine."""

from __future__ import annotations

from typing import Any, Self


class ForwardCounter:
    """Count the forward calls of a model and the tokens each one was fed.

    A context manager around calls of ``model`` (the base model inside a PEFT model). After it,
    ``calls`` is a list with one entry for each forward: ``{"tokens": batch * length fed,
    "cached": positions already in the cache, or None}``. A cache that is silently dropped shows
    as tokens that grow from call to call.
    """

    def __init__(self, model: Any, *, use_cache: bool | None = None) -> None:
        """Observe ``model``; nothing is attached before the context is entered. ``use_cache`` is what was asked for."""
        self._model, self._use_cache = model, use_cache
        self.calls: list[dict[str, int | None]] = []

    def __enter__(self) -> Self:
        """Attach to the model's forward."""
        self._hook = self._model.register_forward_pre_hook(self._observe, with_kwargs=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Detach."""
        self._hook.remove()

    def _observe(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # An encoder-decoder is fed what its decoder is fed: the encoder runs once.
        names = ("decoder_input_ids", "inputs_embeds", "input_ids")
        fed = next((kwargs[name] for name in names if kwargs.get(name) is not None), None)
        if fed is None and args:
            fed = args[0]
        tokens = 0 if fed is None else int(fed.shape[0] * fed.shape[1])
        self.calls.append({"tokens": tokens, "cached": cache_length(kwargs.get("past_key_values"))})

    def summary(self) -> dict[str, Any]:
        """Give the counters of a record: calls, tokens fed in all and per call, cache per call."""
        return {
            **({} if self._use_cache is None else {"use_cache": self._use_cache}),
            "forward_calls": len(self.calls),
            "tokens_fed": sum(call["tokens"] or 0 for call in self.calls),
            "tokens_per_call": [call["tokens"] for call in self.calls],
            "cache_per_call": [call["cached"] for call in self.calls],
        }


def cache_length(past: Any) -> int | None:
    """Give the positions held by a cache of any release, or None when there is no cache.

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
