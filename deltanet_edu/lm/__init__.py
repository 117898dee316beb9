"""A small language model, from text to text.

corpus, tokenizer and data bring the text, leakage looks at it; config and model say what is trained; device where;
optimizer and train how; run_folder keeps it; evaluate, cloze, facts, harness, generate and references look at what
came of it.
"""
