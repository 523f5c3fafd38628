"""Write the page of all label rules from the rules themselves: ``make rules`` writes ``docs/label_rules.md``.

A test fails when the page is older than the rules.
"""

from core import labels
from core.settings import PROJECT_DIR

PAGE = PROJECT_DIR / "docs" / "label_rules.md"
_START = """\
# The rules of the header labels

Made by `make rules` from `core/labelling/label_codes.py`, `core/labelling/label_timings.py`,
`core/labelling/label_words.py` and `core/labels.py`; do not edit it. Rules of a table are tried from top to bottom, and
the first that fires speaks for its witness.
*Label* is what it names if no other witness speaks; *also possible* is what others may still name.

## How the witnesses are weighed
"""


def page() -> str:
    """Give the whole page, Markdown."""
    weighed = labels.__doc__.split("\n\n", 1)[1]
    parts = [_START, weighed.strip(), ""]
    for title, rules in labels.RULES.items():
        parts += [f"## {title}", "", "| rule | label | also possible | why |", "|---|---|---|---|"]
        for rule in rules:
            cells = (f"`{rule.name}`", rule.value or "", ", ".join(sorted(rule.also)), rule.why.replace("|", "\\|"))
            parts.append(f"| {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


def main() -> None:
    PAGE.write_text(page(), "utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
