"""Write the JSON Schema of assessments anew: ``python tools/worksheet_schema.py``.

It follows from the types of ``leaklab.assess.worksheet``, and a test holds the two together.
"""

from __future__ import annotations

import json
from pathlib import Path

from leaklab.assess import worksheet

TARGET = (Path(__file__).resolve().parents[1]
          / "src/leaklab/assess/worksheet/assessment.schema.json")

if __name__ == "__main__":
    text = json.dumps(worksheet.schema(), indent=1, ensure_ascii=False)
    TARGET.write_text(text + "\n", encoding="utf-8")
