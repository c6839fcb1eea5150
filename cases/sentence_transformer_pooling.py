"""A SentenceTransformer with a prompt gives the embedding of the text, whatever it is padded with.

Document 002; huggingface/peft#2154, huggingface/sentence-transformers#2995 and #3000.
``attach`` is the way in which PEFT comes into the SentenceTransformer. ``runs`` asks whether it
embeds at all, with the prompt; ``pooled`` whether the embedding is the right one. The two
``cure_`` aspects ask the same of what the document proposes.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.kit import Trial, Unsupported, Variants, attach, make_model, make_tokenizer

DOCUMENT = "002"
UPSTREAM = ("https://github.com/huggingface/peft/issues/2154",)
ORACLE = "by hand"
VIRTUAL_TOKENS = 10
TEXTS = 64
PADDED_LENGTH = 53
ROWS_BY_HAND = 8
TOLERANCE = 1e-4
"""Of embeddings near 1 in float32: rounding stays below 1e-5, one padding token moves them by 1e-2."""

VARIANTS = (
    Variants(
        axes={
            "attach": ("modules", "module_model"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("runs", "pooled"),
        },
    ),
    Variants(
        axes={
            "attach": ("modules", "module_model"),
            "method": ("prompt_tuning",),
            "aspect": ("cure_mask", "cure_pooling"),
        },
    ),
    Variants(
        axes={
            "attach": ("add_adapter", "load_adapter", "peft_model"),
            "method": ("prompt_tuning", "prefix_tuning", "p_tuning", "lora"),
            "aspect": ("pooled",),
        },
    ),
)


def check(trial: Trial) -> None:
    """Embed a padded batch and compare with the mean over each text's own unpadded output."""
    trial.need("sentence_transformers", because="the case embeds with a SentenceTransformer")
    # Here and not above: a release that cannot be imported beside these packages is a finding.
    from sentence_transformers import SentenceTransformer

    device = trial.torch_device()
    base = make_model("bert", device=device, trained=False)
    folder = trial.scratch / "base"
    base.save_pretrained(folder)
    make_tokenizer(padding_side="right").save_pretrained(folder)
    texts = _texts()
    plain = SentenceTransformer(str(folder), device=str(device))
    without = plain.encode(texts, batch_size=TEXTS, convert_to_tensor=True, show_progress_bar=False)

    # The oracle: PEFT on the bare model, which no part of sentence-transformers has touched.
    reference = attach(base, trial.method, virtual_tokens=VIRTUAL_TOKENS, task="FEATURE_EXTRACTION")
    model = _attached(trial, reference, SentenceTransformer(str(folder), device=str(device)))
    tokens = model.tokenizer(texts, padding=True, return_tensors="pt").to(device)
    trial.evidence["batch"] = list(tokens["input_ids"].shape)
    trial.expect(tokens["input_ids"].shape == (TEXTS, PADDED_LENGTH), "the batch is not the document's, 64 by 53")

    with torch.no_grad():
        embed = _embed(trial, model)
        embedded = embed(texts)
        trial.evidence["shape"] = list(embedded.shape)
        trial.expect(embedded.shape == (TEXTS, base.config.hidden_size), "not one vector for each text")
        moved = float((embedded - without).abs().max())
        trial.evidence["moved_by_prompt"] = moved
        trial.expect(moved > 100 * TOLERANCE, "the adapter is not used: the embeddings are the base model's")
        if trial.aspect == "runs":
            return

        far, alone = {"all": 0.0, "text": 0.0}, 0.0
        for row in range(0, TEXTS, TEXTS // ROWS_BY_HAND):
            ids = tokens["input_ids"][row][tokens["attention_mask"][row].bool()].unsqueeze(0)
            hidden = reference(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            # Averaging the virtual tokens too (sentence-transformers since 3.3) or not is a choice;
            # averaging padding, or leaving out a token of the text, is a fault.
            means = {"all": hidden.mean(0), "text": hidden[-ids.shape[1] :].mean(0)}
            for kind, mean in means.items():
                far[kind] = max(far[kind], float((embedded[row] - mean).abs().max()))
            alone = max(alone, float((embed([texts[row]])[0] - embedded[row]).abs().max()))
    trial.evidence.update(far_from_mean=far, alone_from_batch=alone)
    trial.expect(alone < TOLERANCE, f"a text alone is {alone:.2g} away from the same text in the batch")
    trial.expect(min(far.values()) < TOLERANCE, f"{min(far.values()):.2g} away from the mean over the text")


def _texts() -> list[str]:
    """Make texts of 5 to 53 tokens (the tokenizer's tokens are characters), the longest first."""
    line = "thequickbrownfoxjumpsoverthelazydog,1+1=2.packmyboxwithfivedozenjugs!"
    return [(line[row % 16 :] + line)[: PADDED_LENGTH - row * 11 % 49] for row in range(TEXTS)]


def _attached(trial: Trial, reference: Any, model: Any) -> Any:
    """Bring the reference's adapter into ``model`` in the variant's way; raises what that way raises."""
    import sentence_transformers

    version = sentence_transformers.__version__
    adapter = trial.scratch / "adapter"
    match trial.attach:
        case "modules":
            # Word for word what the report does; from 5.4 on, auto_model is a property.
            model._modules["0"].auto_model = reference  # noqa: SLF001
        case "module_model":
            if "model" not in model[0]._modules:  # noqa: SLF001
                message = f"the Transformer of sentence-transformers {version} holds no attribute model"
                raise Unsupported(message)
            model[0].model = reference
        case "peft_model":
            if int(version.split(".")[0]) * 100 + int(version.split(".")[1]) < 303:
                message = f"sentence-transformers {version} loads no adapter folder; 3.3 is the first that does"
                raise Unsupported(message)
            reference.peft_config["default"].base_model_name_or_path = str(trial.scratch / "base")
            reference.save_pretrained(adapter)
            model.tokenizer.save_pretrained(adapter)
            model = sentence_transformers.SentenceTransformer(str(adapter), device=str(model.device))
        case way:
            if not hasattr(model, way):
                message = f"SentenceTransformer of {version} has no {way}"
                raise Unsupported(message)
            if way == "load_adapter":
                reference.save_pretrained(adapter)
                model.load_adapter(str(adapter))
            else:
                model.add_adapter(reference.peft_config["default"])
                weights = dict(reference.named_parameters())
                with torch.no_grad():
                    for name, parameter in model[0].auto_model.named_parameters():
                        parameter.copy_(weights[f"base_model.model.{name}"])
    return model.to(reference.device).eval()


def _embed(trial: Trial, model: Any) -> Any:
    """Return the function from texts to embeddings: ``encode``, or with one of the document's cures."""

    class TextPooling(torch.nn.Module):  # type: ignore[misc]  # torch is Any where this is checked
        def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
            # The text's positions are the last ones, as many as the mask has.
            mask = features["attention_mask"].unsqueeze(-1)
            tokens = features["token_embeddings"][:, -mask.shape[1] :]
            return {**features, "sentence_embedding": (tokens * mask).sum(1) / mask.sum(1)}

    def extending_the_mask(texts: list[str]) -> torch.Tensor:
        features = model[0](dict(model.tokenizer(texts, padding=True, return_tensors="pt").to(model.device)))
        mask = features["attention_mask"]
        missing = features["token_embeddings"].shape[1] - mask.shape[1]
        features["attention_mask"] = torch.cat([mask.new_ones(len(mask), missing), mask], dim=1)
        return model[1](features)["sentence_embedding"]

    if trial.aspect == "cure_mask":
        return extending_the_mask
    if trial.aspect == "cure_pooling":
        model._modules["1"] = TextPooling()  # noqa: SLF001 - as the report reaches the transformer
    return lambda texts: model.encode(texts, batch_size=TEXTS, convert_to_tensor=True, show_progress_bar=False)
