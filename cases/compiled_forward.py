"""A compiled model answers as the model itself does, prompt included.

``torch.compile(backend="eager")`` traces PEFT's and transformers' Python and runs torch's own kernels: what it gets
wrong is guards and control flow, not arithmetic. PEFT's guide says what it compiles, and tests that it runs.
"""

from __future__ import annotations

import torch

from harness.kit import Trial, Variants, expect_near, far, logits, make_base, question, wrap

DOCUMENT = None
UPSTREAM = ("https://github.com/huggingface/peft/blob/main/docs/source/developer_guides/torch_compile.md",)
ORACLE = "same call"
VARIANTS = (
    # Tracing takes seconds a variant, and p-tuning is prompt tuning with other numbers.
    Variants(axes={"model": ("llama",), "method": ("prompt_tuning", "prefix_tuning")}),
)


def check(trial: Trial) -> None:
    """Compare logits at two lengths: the second meets guards of the first."""
    ids, mask = question(trial)
    torch._dynamo.reset()  # noqa: SLF001 - there is no public way back to a fresh compiler
    base = make_base(trial)
    bare = logits(base, input_ids=ids, attention_mask=mask)
    model = wrap(trial, base)
    compiled = torch.compile(model, backend="eager")
    for length in (ids.shape[1], ids.shape[1] - 7):
        some = {"input_ids": ids[:, :length], "attention_mask": mask[:, :length]}
        wanted = logits(model, length=length, **some)
        trial.expect(far(wanted, bare[:, :length]) > 0.01, "the prompt changes nothing")
        expect_near(trial, f"compiled against eager, {length} tokens", logits(compiled, length=length, **some), wanted)
