"""Models and trainings by name: what of a Config differs from the defaults. "cpu" is the model of chapter 16."""

PRESETS = {
    # 0.7 million parameters, two to four minutes on one CPU core, at the rate that chapter 16 finds: a model as narrow
    # as this learns its embeddings and its head best at a high one (results/lm_seeds.json).
    "cpu": dict(steps=1000, adam_lr=0.02),
    # 27 million, some three minutes on one GPU. Novels and addresses are few for it: few words, much dropout.
    "small": dict(corpus="books+addresses", vocab=1024, layers=8, d_model=512, heads=8, dropout=0.4, bpe_dropout=0.1,
                  weight_decay=0.3, steps=4800, batch=32, length=1024, lr=0.03, adam_lr=0.01,
                  average=0.98),
    # 110 million, for a text of your own of a gigabyte or so, on one GPU overnight.
    "medium": dict(vocab=16_384, layers=12, d_model=768, heads=6, steps=20_000, batch=128, length=1024),
    # The paper's two sizes and its recipe (its sections 4 and B; the learning rate is that of arXiv 2312.06635, by the
    # same group; there it ends at a tenth of its peak, here at a twentieth): 0.5 million tokens a step, 15 billion
    # together, and 2 and 100. Several GPUs for days.
    "340m": dict(vocab=32_000, layers=24, d_model=1024, heads=8, mlp_hidden=2816, norm_eps=1e-6, steps=28_610,
                 batch=256, length=2048, optimizer="adamw", adam_lr=3e-4, warmup=1 / 30, weight_decay=0.01),
    "1.3b": dict(vocab=32_000, layers=24, d_model=2048, heads=16, mlp_hidden=5632, norm_eps=1e-6, steps=47_684,
                 batch=1024, length=2048, optimizer="adamw", adam_lr=3e-4, warmup=0.01, weight_decay=0.01),
}


def settings_of(preset):
    """The settings of a preset. Raises ValueError for a name that is none."""
    if preset not in PRESETS:
        raise ValueError(f"preset: got {preset!r}, expected one of {', '.join(map(repr, PRESETS))}.")
    return dict(PRESETS[preset])
