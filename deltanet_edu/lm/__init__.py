"""A small language model, from text to text: corpus, tokenizer, data, config, model, train, checkpoint, evaluate, generate."""
