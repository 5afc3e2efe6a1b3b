"""pass@k of generated programs, judged in the sandbox, as a module of `evaluate`.

In: for each problem its completions, and what decides on them: prompt, tests, entry point, style
and context, as `sandbox.judge.Problem` has them. Out: for each k the values by problem, and a
reason for each completion. It runs nothing without `allow_code_execution=True`, nor on a machine
that confines less than `level`. The score stage, which first proves the judge, calls the sandbox
itself and gives the verdicts to `pass_at_k`.
"""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from lora_ledger.analysis.statistics import pass_at_k
from lora_ledger.sandbox.client import Problem, judge_all

DESCRIPTION = "The chance that one of k samples drawn from n passes the problem's tests."
CITATION = "Chen et al. (2021), Evaluating Large Language Models Trained on Code, section 2.1"
KEYS = ("prompt", "tests", "entry_point", "style", "context")


class JudgedCode(evaluate.Metric):  # type: ignore[misc]
    """`compute(predictions=[[text, ...]], references=[{...}], allow_code_execution=True)`."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description="predictions: completions by problem; references: the problems.",
            features=datasets.Features(
                {"predictions": datasets.Sequence(text), "references": dict.fromkeys(KEYS, text)}
            ),
        )

    def _compute(
        self,
        predictions: list[list[str]],
        references: list[dict[str, Any]],
        k: Sequence[int] = (1,),
        jobs: int = 1,
        level: int = 3,
        allow_code_execution: bool = False,
    ) -> dict[str, Any]:
        """{"pass@k": [value of each problem], "reasons": [[...]]}.

        Raises ValueError without consent, SandboxError below `level`.
        """
        if not allow_code_execution:
            raise ValueError(
                "allow_code_execution: found False, expected True, since this runs generated code "
                "in confined processes"
            )
        problems = [
            Problem(completion=text, **reference)
            for texts, reference in zip(predictions, references, strict=True)
            for text in texts
        ]
        verdicts = iter(judge_all(problems, jobs, level))
        found = [[next(verdicts) for _ in texts] for texts in predictions]
        values: dict[str, Any] = {
            f"pass@{size}": [
                pass_at_k(len(one), sum(verdict.passed for verdict in one), size) for one in found
            ]
            for size in k
        }
        return values | {"reasons": [[verdict.reason for verdict in one] for one in found]}
