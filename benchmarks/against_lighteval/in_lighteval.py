"""Judges responses by lighteval's metric for mathematics; run by the Python of lighteval's own environment.

Reads JSON Lines of ``{"response": text, "truths": [text, ...]}`` and writes as many of
``{"right": bool, "answers": [text, ...], "truths": [text, ...]}``, the last two as lighteval extracted them. It imports
nothing of this project, and is given to the interpreter as a file.
"""

import json
import logging
import sys
from importlib import import_module
from typing import Any


def main() -> None:
    """Judges all of standard input."""
    logging.disable(logging.WARNING)  # a warning per response without an answer
    metrics: Any = import_module("lighteval.metrics.metrics")
    requests: Any = import_module("lighteval.tasks.requests")
    outputs: Any = import_module("lighteval.models.model_output")
    # What lighteval's aime24, math_500 and olympiad_bench score each sample by.
    metric = metrics.Metrics.avg_at_n_math(sample_params={"n": 1}).sample_level_fn
    for line in sys.stdin:
        asked = json.loads(line)
        # In a box, as in the solutions that its math_500 gives: bare LaTeX would not be found.
        golds = [rf"\boxed{{{truth}}}" for truth in asked["truths"]]
        doc = requests.Doc(task_name="", query="", choices=golds, gold_index=list(range(len(golds))))
        score = metric.compute(doc, outputs.ModelResponse(text=[asked["response"]]))
        found = doc.specific or {}
        answer = {
            "right": bool(score),
            "answers": list(found.get("extracted_predictions", [])),
            "truths": list(found.get("extracted_golds", [])),
        }
        sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
