"""Files of tokenizers of whole words."""

import json

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "very"]


def written(path, truncation=None, padding=None, words=WORDS):
    """A tokenizer.json of whole words in lower case, with a token at the beginning and at the end of each text."""
    special = [{"id": n, "content": words[n], "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for n in range(4)]  # fmt: skip
    start, stop = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    pair = [start, first, stop, second, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}]
    known = {name: {"id": name, "ids": [words.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    post = {"type": "TemplateProcessing", "single": [start, first, stop], "pair": pair, "special_tokens": known}
    model = {"type": "WordLevel", "vocab": {word: place for place, word in enumerate(words)}, "unk_token": "[UNK]"}
    content = {"version": "1.0", "truncation": truncation, "padding": padding, "added_tokens": special,
               "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": post,
               "decoder": None, "model": model}  # fmt: skip
    path.write_text(json.dumps(content))
    return str(path)
