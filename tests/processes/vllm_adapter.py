"""A LoRA adapter of the tiny Llama in `vllm_model.py`, with random weights that are large enough to be heard.

    python vllm_adapter.py FOLDER SEED

Another seed gives other weights. Writing into a folder that has an adapter already is what a new revision of it does.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from vllm_model import SIZES

RANK = 8
SCALE = 0.5
"""Of what it adds to a projection, to what the projection says itself."""


def make(folder, seed):
    """Write the adapter's configuration and weights as PEFT does."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(_weights(SIZES["tiny"], seed), folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _weights(size, seed):
    dice = torch.Generator().manual_seed(seed)
    rows = {
        "q": size.heads * size.head,
        "k": size.kv_heads * size.head,
        "v": size.kv_heads * size.head,
        "o": size.hidden,
    }
    found = {}
    for layer in range(size.layers):
        for name, out in rows.items():
            at = f"base_model.model.model.layers.{layer}.self_attn.{name}_proj."
            down = torch.randn(RANK, size.hidden, generator=dice) / size.hidden**0.5
            up = torch.randn(out, RANK, generator=dice) * SCALE * (size.hidden / RANK) ** 0.5
            found |= {f"{at}lora_A.weight": down.to(torch.bfloat16), f"{at}lora_B.weight": up.to(torch.bfloat16)}
    return found


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
