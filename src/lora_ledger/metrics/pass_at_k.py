"""pass@k of each problem, by the unbiased estimator, as a module of `evaluate`.

In: for each problem a list that says of each of its n samples whether it passed.
Out: for each k <= n the values by problem. It runs no code: `sandbox` has decided by then.
"""

import datasets
import evaluate

from lora_ledger.analysis.statistics import pass_at_k

DESCRIPTION = "1 - C(n - c, k) / C(n, k): the chance that one of k samples drawn from n passes."
CITATION = "Chen et al. (2021), Evaluating Large Language Models Trained on Code, section 2.1"


class PassAtK(evaluate.Metric):  # type: ignore[misc]
    """`compute(predictions=[[True, False], ...], k=[1, 2])`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description="predictions: for each problem, whether each sample passed.",
            features=datasets.Features({"predictions": datasets.Sequence(datasets.Value("bool"))}),
        )

    def _compute(self, predictions: list[list[bool]], k: list[int]) -> dict[str, list[float]]:
        """{"pass@k": [value of each problem]}; ValueError where k exceeds a problem's samples."""
        return {
            f"pass@{size}": [pass_at_k(len(passed), sum(passed), size) for passed in predictions]
            for size in k
        }
