"""A trained model for EleutherAI's evaluation harness, `pip install lm-eval`: its three questions, answered.

The tasks are local: a YAML file, or a folder of them, with data beside it. Nothing is fetched.
"""

from pathlib import Path

from .evaluate import continuation, cost_of_long, score
from .generate import generate


class Harness:
    """The interface of lm_eval.api.model.LM. A request has .args: what is asked."""

    def __init__(self, model, tokenizer, progress=iter):
        self.model, self.tokenizer, self.progress = model, tokenizer, progress

    def loglikelihood(self, requests, **_):
        """args = (context, continuation). [(log p of the continuation in nats, is each token of it the likeliest?)]."""
        rows = [continuation(self.tokenizer, *request.args) for request in requests]
        return [(-loss.sum().item(), right) for loss, right in score(self.model, rows, progress=self.progress)]

    def loglikelihood_rolling(self, requests, **_):
        """args = (text,). The log p of the whole text, read from an empty memory in one go, however long it is."""
        rows = (continuation(self.tokenizer, "", request.args[0]) for request in requests)
        return [-cost_of_long(self.model, *row) for row in self.progress(list(rows))]

    def generate_until(self, requests, **_):
        """args = (context, {"until": strings, "max_gen_toks": n, "temperature": t}). The texts, without the strings."""
        texts = []
        for request in self.progress(requests):
            context, how = request.args
            until = how.get("until") or ()
            pieces = generate(self.model, self.tokenizer, context or "\n\n", how.get("max_gen_toks", 256),
                              temperature=how.get("temperature", 0.0) if how.get("do_sample", True) else 0.0,
                              top_k=None, stop=(until,) if isinstance(until, str) else tuple(until))
            texts.append("".join(pieces))
        return texts


def run_tasks(model, tokenizer, path, limit=None, progress=iter):
    """The results of lm-eval on a task's YAML file, or on all that lie in a folder: {task: {metric: value}}.

    limit: examples of each task. Raises ValueError where the library or the task is missing. A task looks like this,
    with a line of JSON for each example, {"question": ..., "right": 0}:

        task: capitals
        dataset_path: json
        dataset_kwargs: {data_files: {test: capitals.jsonl}}
        test_split: test
        output_type: multiple_choice
        doc_to_text: "{{question}}"
        doc_to_choice: [" Paris", " London"]
        doc_to_target: right
        metric_list: [{metric: acc}]
    """
    path = Path(path)
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        raise ValueError(f"tasks: got {str(path)!r}, expected a task's YAML file, or a folder with such files.")
    try:
        import lm_eval
        from lm_eval.api.model import LM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise ValueError(f"tasks: lm-eval is missing ({error}). Install it with: pip install lm-eval") from None

    class Model(Harness, LM):
        def __init__(self, *args):
            LM.__init__(self)
            Harness.__init__(self, *args)

    manager = TaskManager(include_path=str(files[0].parent), include_defaults=False)
    results = lm_eval.simple_evaluate(Model(model, tokenizer, progress), tasks=[str(file) for file in files],
                                      task_manager=manager, limit=limit, bootstrap_iters=0)
    return results["results"]
