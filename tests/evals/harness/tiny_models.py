"""Real models of transformers with random weights and a tokenizer of characters, on disk."""

import string
from pathlib import Path
from typing import Any

import torch

ALPHABET = string.ascii_letters + string.digits + " .,:-'\n"
FAMILIES = ("llama", "mamba", "rwkv")


def save_tiny_model(family: str, directory: Path, seed: int = 0) -> str:
    """Build a model of a family and write it with its tokenizer; the directory's name."""
    import transformers as hf

    tokenizer = character_tokenizer()
    size = len(tokenizer)
    special = {"bos_token_id": size - 1, "eos_token_id": size - 1, "pad_token_id": size - 1}
    common = {"vocab_size": size, "hidden_size": 32, "num_hidden_layers": 2, **special}
    attention = {
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 1024,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = {
            "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**common, **attention)),
            "mistral": lambda: hf.MistralForCausalLM(
                hf.MistralConfig(**common, **attention, sliding_window=16)
            ),
            "mamba": lambda: hf.MambaForCausalLM(hf.MambaConfig(**common, state_size=8)),
            "rwkv": lambda: hf.RwkvForCausalLM(
                hf.RwkvConfig(**common, attention_hidden_size=32, context_length=1024)
            ),
        }[family]()
        for parameter in model.parameters():  # as initialised, it says one letter for ever
            if parameter.ndim > 1:
                parameter.data.mul_(3.0 if family == "mamba" else 8.0)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def character_tokenizer() -> Any:
    """A token a character of `ALPHABET`; what is not in it becomes '<unk>'."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*ALPHABET, "<unk>", "<eos>"]
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<eos>",
        eos_token="<eos>",
        pad_token="<eos>",
    )
