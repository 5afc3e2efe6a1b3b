"""Write the JSON schemas of studies and records; a test fails when the files differ.

In: the pydantic models. Out: `workflow/schemas/*.json`, which editors use to check study files.
"""

from __future__ import annotations

import json
from pathlib import Path

from lora_ledger.records.atomic import write_text_atomic
from lora_ledger.records.record import Record

from .schema import Study

FOLDER = Path("workflow/schemas")


def main() -> None:
    for name, model in (("study", Study), ("record", Record)):
        text = json.dumps(model.model_json_schema(), indent=1) + "\n"
        write_text_atomic(FOLDER / f"{name}.schema.json", text)


if __name__ == "__main__":
    main()
