"""A tiny Llama with random weights, made on the spot: its attention is peaked, so that its tokens depend on every block.

    python vllm_model.py FOLDER [tiny|medium|window]

`window` gives weights to the Gemma 3 whose configuration is in the folder already.

Dummy weights of vLLM's own would not do: they are so small that an output hardly depends on the KV cache.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

VOCAB = 4096
PEAK = 2.5
"""By how much queries and keys are larger than usual."""


class Size(NamedTuple):
    """Of a model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    inner: int

    @property
    def head(self):
        return self.hidden // self.heads


SIZES = {"tiny": Size(256, 4, 4, 2, 768), "medium": Size(512, 16, 8, 4, 1536)}


def make(folder, size):
    """Write configuration, weights and a tokenizer of the words `w4` to `w4095`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_weights(size), folder / "model.safetensors", metadata={"format": "pt"})
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3} | {f"w{at}": at for at in range(4, VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106 - no password, but a word
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(_tokenizer_config()))
    (folder / "config.json").write_text(json.dumps(_config(size)))


def _weights(size):
    dice = torch.Generator().manual_seed(0)

    def random(rows, columns, scale):
        return (torch.randn(rows, columns, generator=dice) * scale / columns**0.5).to(torch.bfloat16)

    ones = torch.ones(size.hidden, dtype=torch.bfloat16)
    found = {
        "model.embed_tokens.weight": random(VOCAB, size.hidden, size.hidden**0.5),
        "lm_head.weight": random(VOCAB, size.hidden, 4.0),
        "model.norm.weight": ones.clone(),
    }
    for layer in range(size.layers):
        at = f"model.layers.{layer}."
        found |= {
            f"{at}self_attn.q_proj.weight": random(size.heads * size.head, size.hidden, PEAK),
            f"{at}self_attn.k_proj.weight": random(size.kv_heads * size.head, size.hidden, PEAK),
            f"{at}self_attn.v_proj.weight": random(size.kv_heads * size.head, size.hidden, 1.0),
            f"{at}self_attn.o_proj.weight": random(size.hidden, size.heads * size.head, 1.0),
            f"{at}mlp.gate_proj.weight": random(size.inner, size.hidden, 1.0),
            f"{at}mlp.up_proj.weight": random(size.inner, size.hidden, 1.0),
            f"{at}mlp.down_proj.weight": random(size.hidden, size.inner, 1.0),
            f"{at}input_layernorm.weight": ones.clone(),
            f"{at}post_attention_layernorm.weight": ones.clone(),
        }
    return found


def window(folder):
    """Write weights whose layers outweigh the embedding, which is the output's too."""
    config = json.loads((folder / "config.json").read_text())
    dice = torch.Generator().manual_seed(0)
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head

    def random(rows, columns):
        return (torch.randn(rows, columns, generator=dice) / columns**0.5).to(torch.bfloat16)

    def norm(size, scale):
        return torch.full((size,), scale - 1.0, dtype=torch.bfloat16)

    found = {"model.embed_tokens.weight": random(VOCAB, hidden) * 0.8, "model.norm.weight": norm(hidden, 5.0)}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        found |= {
            f"{at}self_attn.q_proj.weight": random(queries, hidden),
            f"{at}self_attn.k_proj.weight": random(kv, hidden),
            f"{at}self_attn.v_proj.weight": random(kv, hidden),
            f"{at}self_attn.o_proj.weight": random(hidden, queries),
            f"{at}self_attn.q_norm.weight": norm(head, PEAK),
            f"{at}self_attn.k_norm.weight": norm(head, 1.0),
            f"{at}mlp.gate_proj.weight": random(inner, hidden),
            f"{at}mlp.up_proj.weight": random(inner, hidden),
            f"{at}mlp.down_proj.weight": random(hidden, inner),
            f"{at}input_layernorm.weight": norm(hidden, 1.0),
            f"{at}post_attention_layernorm.weight": norm(hidden, 4.0),
            f"{at}pre_feedforward_layernorm.weight": norm(hidden, 1.0),
            f"{at}post_feedforward_layernorm.weight": norm(hidden, 4.0),
        }
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})


def _config(size):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": size.hidden,
        "intermediate_size": size.inner,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "head_dim": size.head,
        "hidden_act": "silu",
        "max_position_embeddings": 16384,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "vocab_size": VOCAB,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "attention_bias": False,
        "mlp_bias": False,
    }


def _tokenizer_config():
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "model_max_length": 16384,
        "chat_template": "{% for m in messages %}{{ m['content'] }} {% endfor %}",
    }


if __name__ == "__main__":
    kind = sys.argv[2] if len(sys.argv) > 2 else "tiny"
    if kind == "window":
        window(Path(sys.argv[1]))
    else:
        make(Path(sys.argv[1]), SIZES[kind])
