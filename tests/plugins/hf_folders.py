"""Folders of tiny networks, as `save_pretrained` of transformers writes them."""

import torch

SIZES = {
    "bert": {"hidden_size": 16, "intermediate_size": 32, "type_vocab_size": 2},
    "roberta": {"hidden_size": 16, "intermediate_size": 32, "type_vocab_size": 1, "max_position_embeddings": 34},
    "distilbert": {"dim": 16, "hidden_dim": 32},
    "gpt2": {"n_embd": 16, "bos_token_id": 1, "eos_token_id": 1},
    "gpt_neox": {"hidden_size": 16, "intermediate_size": 32, "tie_word_embeddings": False},
    "llama": {"hidden_size": 16, "intermediate_size": 32, "num_key_value_heads": 1, "tie_word_embeddings": False},
    "qwen3": {"hidden_size": 16, "intermediate_size": 32, "tie_word_embeddings": False},
    "opt": {"hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 32},
    "bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
}  # fmt: skip
VOCABULARY, POSITIONS = 60, 32
AUTO = {
    "encoder": "AutoModel",
    "classes": "AutoModelForSequenceClassification",
    "answer": "AutoModelForQuestionAnswering",
    "tokens": "AutoModelForCausalLM",
}


def config_of(kind, **changes):
    import transformers

    common = {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": POSITIONS,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        **SIZES[kind],
    }
    return transformers.CONFIG_MAPPING[kind](**{**common, **changes})


def write(folder, kind="bert", head="classes", **changes):
    """Write a folder, and return the network in it, whose biases are not zero."""
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(5)
        module = getattr(transformers, AUTO[head]).from_config(config_of(kind, **changes))
        for parameter in module.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape)
    module.save_pretrained(folder)
    return module.eval()
