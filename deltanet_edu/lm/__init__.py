"""A small language model, from text to text.

corpus, tokenizer, token_folder and data bring the text, leakage looks at it; config, presets and model say what is
trained; device and distributed where; loss, optimizer and train how; run_folder keeps it, interruption, speed and
progress watch; evaluate, cloze, facts, harness, generate and references look at what came of it.
"""
