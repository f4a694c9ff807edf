"""README and its examples, by name, in their order."""

import re
from pathlib import Path

TEXT = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
EXAMPLES = dict(zip(("plain", "lightning", "stream"), BLOCKS, strict=True))
