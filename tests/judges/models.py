"""Tiny causal language models of random weights, and their answers by plain loops."""

from __future__ import annotations

import math
import string

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for message in messages %}~{{ message['content'] }}{% endfor %}{% if add_generation_prompt %}|{% endif %}"
)


def letter_tokenizer(template=None) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are single characters, so that most grades have several."""
    vocabulary = {letter: i for i, letter in enumerate(["[UNK]", *string.printable])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
    fast.chat_template = template
    return fast


def tiny_gpt2(positions=512):
    """A GPT-2 with learned positions, to which padding on the left would matter, and with dropout."""
    torch.manual_seed(0)
    size = len(letter_tokenizer())
    config = GPT2Config(
        vocab_size=size, n_positions=positions, n_embd=32, n_layer=2, n_head=2, initializer_range=0.4,
        bos_token_id=None, eos_token_id=None, resid_pdrop=0.3, embd_pdrop=0.3, attn_pdrop=0.3,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def tiny_llama(positions=512):
    """A Llama with rotary positions."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(letter_tokenizer()), max_position_embeddings=positions, hidden_size=32, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, initializer_range=0.4,
        bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(config)


MODELS = {"gpt2": tiny_gpt2, "llama": tiny_llama}


@torch.no_grad()
def next_logits(model, ids):
    """The logits of the token after a text, alone and without padding."""
    return model.eval()(input_ids=torch.tensor([ids])).logits[0, -1].double().tolist()


def log_probability(model, tokenizer, prompt, text):
    """The sum of the log-probabilities of a text's tokens, one after the other."""
    ids, total = tokenizer(prompt)["input_ids"], 0.0
    for token in tokenizer(text)["input_ids"]:
        logits = next_logits(model, ids)
        total += logits[token] - math.log(sum(map(math.exp, logits)))
        ids = [*ids, token]
    return total


def greedy(model, tokenizer, prompt, length):
    """The most likely next token, again and again."""
    ids = tokenizer(prompt)["input_ids"]
    for _ in range(length):
        logits = next_logits(model, ids)
        ids = [*ids, max(range(len(logits)), key=logits.__getitem__)]
    return tokenizer.decode(ids[-length:], skip_special_tokens=True)
