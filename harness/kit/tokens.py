"""A character tokenizer, made in place: the same ids in every cell, no download."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

if TYPE_CHECKING:
    import torch

BOS, EOS, UNKNOWN = 1, 2, 3  # their places in SPECIAL
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
ALPHABET = "0123456789+-*= abcdefghijklmnopqrstuvwxyz.,?!:'"
VOCABULARY = {token: index for index, token in enumerate((*SPECIAL, *ALPHABET))}
VOCAB_SIZE = 64
"""A round number above the vocabulary; the rest is never produced by training."""


def make_tokenizer(*, padding_side: str = "left") -> PreTrainedTokenizerFast:
    """Make the tokenizer that the tiny models share; it lower-cases nothing and adds nothing."""
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex("(?m:.)"), behavior="isolated")
    tokenizer.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        padding_side=padding_side,
        model_max_length=128,
    )


def encode(text: str, *, device: str | torch.device = "cpu") -> torch.Tensor:
    """Return the ids of ``text`` after a leading ``<s>``, shape ``(1, length)``; ``</s>`` is one token."""
    import torch

    pieces = re.findall(r"</s>|.", text, flags=re.DOTALL)
    ids = [BOS, *(VOCABULARY.get(piece, UNKNOWN) for piece in pieces)]
    return torch.tensor([ids], device=device)


def decode(ids: torch.Tensor) -> str:
    """Return the text of a 1-d tensor of ids up to the first ``</s>``."""
    names = {index: token for token, index in VOCABULARY.items()}
    text = ""
    for index in ids.tolist():
        if index == EOS:
            break
        text += names.get(index, "?")
    return text
