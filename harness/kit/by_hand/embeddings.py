"""Virtual embeddings by hand: from an adapter's stored tensors to the vectors that stand before the text.

Each function is the equation of its method, written with tensor operations alone. PEFT's classes are not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import linear

if TYPE_CHECKING:
    from collections.abc import Mapping

    Tensors = Mapping[str, torch.Tensor]
    """An adapter's tensors by name, as :class:`harness.kit.by_hand.references.Stored` has them."""

EPSILON_OF_2048 = 2048
"""The hidden size at which CPT's bounds of a change are meant as they are written; others scale by the root."""

SMALLEST_EPSILON = 1e-10
"""CPT's bound of a change to a token that is to stay as it is."""


def multilayer_perceptron(tensors: Tensors, inputs: torch.Tensor, layers: tuple[int, ...]) -> torch.Tensor:
    """Apply p-tuning's ``mlp_head``: the linear layers of these numbers, with a ReLU between each two of them."""
    for position, number in enumerate(layers):
        if position:
            inputs = inputs.clamp(min=0)
        inputs = linear(inputs, tensors[f"mlp_head.{number}.weight"], tensors[f"mlp_head.{number}.bias"])
    return inputs


def bidirectional_lstm(tensors: Tensors, inputs: torch.Tensor) -> torch.Tensor:
    """Apply p-tuning's ``lstm_head`` to ``(length, features)``; gives ``(length, 2 * hidden)``, forward half first.

    Hochreiter and Schmidhuber's cell with a forget gate; the gates stand in torch's order: input, forget, cell, output.
    """
    layer = 0
    while f"lstm_head.weight_ih_l{layer}" in tensors:
        halves = []
        for suffix, order in (("", 1), ("_reverse", -1)):
            name = f"_l{layer}{suffix}"
            weight, bias = tensors[f"lstm_head.weight_hh{name}"], tensors[f"lstm_head.bias_hh{name}"]
            fed = linear(inputs, tensors[f"lstm_head.weight_ih{name}"], tensors[f"lstm_head.bias_ih{name}"])
            hidden = cell = torch.zeros_like(weight[0])
            steps = []
            for step in fed if order == 1 else fed.flip(0):
                entry, forget, new, exit_ = (step + linear(hidden, weight, bias)).chunk(4)
                cell = forget.sigmoid() * cell + entry.sigmoid() * new.tanh()
                hidden = exit_.sigmoid() * cell.tanh()
                steps.append(hidden)
            halves.append(torch.stack(steps if order == 1 else steps[::-1]))
        inputs = torch.cat(halves, dim=-1)
        layer += 1
    return inputs


def bounded_change(tensors: Tensors, facts: Mapping[str, Any]) -> torch.Tensor:
    """Bound CPT's change of its tokens, ``(tokens, hidden)``: each row has at most the length that its type allows.

    ``cpt_tokens_type_mask`` is 1 for a template of the input, 2 for the input, 3 for a template of the answer and 4 for
    the answer, whose change is next to nothing; the next example's types go on counting from there.
    """
    change = tensors["delta_embedding.weight"]
    types = torch.tensor(facts["cpt_tokens_type_mask"], device=change.device)
    scale = (change.shape[1] / EPSILON_OF_2048) ** 0.5
    bounds = torch.full(types.shape, SMALLEST_EPSILON, device=change.device)
    bounds[(types > 0) & (types % 4 == 2)] = facts["opt_projection_epsilon"] * scale  # noqa: PLR2004
    bounds[(types > 0) & (types % 2 == 1)] = facts["opt_projection_format_epsilon"] * scale
    lengths = change.square().sum(dim=1).sqrt()
    return change * (bounds / lengths.clamp(min=1e-30)).clamp(max=1.0)[:, None]


def virtual_embeddings(
    method: str, tensors: Tensors, facts: Mapping[str, Any], *, task: int | None = None
) -> torch.Tensor:
    """Compute the virtual tokens' embeddings, ``(virtual tokens, hidden)``, of one row.

    ``facts`` is the adapter's config by name; ``task`` is the row's number of a multitask prompt. A file has the
    folded embeddings where memory has the parameters that make them (``prompt_embeddings``), but for multitask's.
    """
    table = tensors["prompt_embeddings"] if "prompt_embeddings" in tensors else tensors["embedding.weight"]
    if method == "multitask_prompt_tuning":
        # Wang and others 2023, equation 1: the shared prompt times the task's matrix of rank one (or more).
        return table * (tensors["prefix_task_cols"][task] @ tensors["prefix_task_rows"][task])
    if "prompt_embeddings" in tensors:
        return table
    match method:
        case "p_tuning":
            return multilayer_perceptron(tensors, table, (0, 2, 4))
        case "p_tuning_lstm":
            return multilayer_perceptron(tensors, bidirectional_lstm(tensors, table), (0, 2))
        case "cpt":
            return table + bounded_change(tensors, facts)
        case _:
            return table
