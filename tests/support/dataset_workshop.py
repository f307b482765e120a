"""Small source files of the schema that every set's real source has, and a folder laid out as the hub is."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from treepo.datasets.prepare import Options, Outcome, prepare
from treepo.datasets.source import FolderSource, Source
from treepo.datasets.spec import SetSpec, catalogue

Rows = list[dict[str, Any]]
ROWS = 3
COMMIT = "c0ffee" + "0" * 34


def question(name: str, i: int) -> str:
    return f"In {name}, what is $2^{{{i}}}$?"


def _matharena(name: str, *, whole_numbers: bool = False) -> Callable[[int], dict[str, Any]]:
    """Rows of MathArena's contests: whole numbers for AIME, LaTeX or numbers as text for the others."""

    def row(i: int) -> dict[str, Any]:
        answer = 2**i if whole_numbers else f"\\frac{{{2**i}}}{{3}}"
        fields = {"problem_idx": i + 1, "problem": question(name, i), "answer": answer}
        return fields if whole_numbers else {**fields, "problem_type": ["Algebra", " Geometry"]}

    return row


def _options(i: int) -> list[str]:
    return [f"value {2**i + k}" for k in range(4)]


SCHEMAS: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "aime_2024": lambda i: {
        "id": 60 + i,
        "problem": question("aime_2024", i),
        "solution": f"It is \\boxed{{{2**i}}}.",
        "answer": f"{2**i:03}",
        "url": "https://example.org",
        "year": "2024",
    },
    "aime_2025": lambda i: {"problem": question("aime_2025", i), "answer": str(2**i), "id": str(i)},
    "amc_2023": lambda i: {
        "id": i,
        "problem": question("amc_2023", i),
        "answer": float(2**i),
        "url": "https://example.org",
    },
    "amc_2023_40": lambda i: {
        "id": i,
        "answer": float(2**i),
        "url": "https://example.org",
        "question": question("amc_2023_40", i),
    },
    "aime_2026": _matharena("aime_2026", whole_numbers=True),
    **{
        name: _matharena(name)
        for name in ("hmmt_feb_2025", "hmmt_feb_2026", "hmmt_nov_2025", "brumo_2025", "smt_2025", "cmimc_2025")
    },
    "apex_2025": lambda i: {
        "problem_idx": i + 1,
        "problem": question("apex_2025", i),
        "answer": f"\\frac{{{2**i}}}{{3}}",
        "source": "a contest",
    },
    "math_500": lambda i: {
        "problem": question("math_500", i),
        "solution": f"It is $\\boxed{{\\frac{{{2**i}}}{{1}}}}$.",
        "answer": f"\\frac{{{2**i}}}{{1}}",
        "subject": "Algebra",
        "level": 3,
        "unique_id": f"test/algebra/{i}.json",
    },
    "minerva_math": lambda i: {"question": question("minerva_math", i), "answer": str(2**i)},
    "olympiad_bench": lambda i: {
        "id": 1600 + i,
        "question": question("olympiad_bench", i),
        "solution": ["By hand."],
        "final_answer": [f"${2**i}$"],
        "context": None,
        "image_1": None,
        "modality": "Text-only",
        "is_multiple_answer": False,
        "unit": None,
        "answer_type": "Numerical",
        "question_type": "Open-ended",
        "language": "English",
    },
    "medqa": lambda i: {
        "question": question("medqa", i),
        "answer": _options(i)[i % 4],
        "options": dict(zip("ABCD", _options(i), strict=True)),
        "meta_info": "step1",
        "answer_idx": "ABCD"[i % 4],
        "metamap_phrases": ["a phrase"],
    },
    "medmcqa": lambda i: {
        "id": f"uuid-{i}",
        "question": question("medmcqa", i),
        **dict(zip(("opa", "opb", "opc", "opd"), _options(i), strict=True)),
        "cop": i % 4,
        "choice_type": "single",
        "exp": None,
        "subject_name": "Anatomy",
        "topic_name": None,
    },
    "deepscaler": lambda i: {
        "problem": question("deepscaler", i),
        "answer": str(2**i),
        "solution": "By doubling.",
    },
    "math_levels_3_to_5": lambda i: {
        "problem": question("math_levels_3_to_5", i),
        "level": f"Level {3 + i % 3}",
        "type": "Algebra",
        "solution": f"First $\\boxed{{0}}$, then $\\boxed{{\\frac{{{2**i}}}{{1}}}}$.",
    },
    "treepo_data": lambda i: {
        "data_source": "math",
        "prompt": [
            {"role": "system", "content": "Please reason step by step, and put your final answer within \\boxed{}."},
            {"role": "user", "content": question("treepo_data", i)},
        ],
        "ability": "math",
        "reward_model": {"ground_truth": str(2**i), "style": "rule"},
        "extra_info": {"index": i, "split": "train"},
    },
}


def write_rows(path: Path, rows: Rows) -> None:
    """Writes rows in the format that the file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@dataclass
class Workshop:
    """Sets with sources that a test can change, and a data folder."""

    sources: Path
    data: Path
    sets: dict[str, SetSpec] = field(default_factory=dict)
    stages: list[tuple[str, str]] = field(default_factory=list)

    def path(self, name: str, file: int = 0) -> Path:
        return self.sources / self.sets[name].repository / self.sets[name].files[file]

    def write(self, name: str, rows: Rows | None = None) -> Rows:
        """Writes a set's first source file, and expects as many rows; the other files stay as they are."""
        rows = [SCHEMAS[name](i) for i in range(ROWS)] if rows is None else rows
        write_rows(self.path(name), rows)
        self.declare(name, expected_rows=None)
        return rows

    def declare(self, name: str, **changes: Any) -> None:
        self.sets[name] = self.sets[name].model_copy(update=changes)

    def note_commit(self, name: str, commit: str, file: int = 0) -> None:
        """Leaves the note that a download leaves."""
        root = self.sources / self.sets[name].repository
        note = root / ".cache/huggingface/download" / f"{self.sets[name].files[file]}.metadata"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f'{commit}\n"etag"\n1700000000.0\n')

    def prepare(self, *names: str, source: Source | None = None, **options: Any) -> list[Outcome]:
        chosen = [self.sets[name] for name in names]
        return list(
            prepare(
                chosen,
                self.sets,
                source or FolderSource(folder=self.sources),
                Options(output=self.data, **options),
                lambda name, stage: self.stages.append((name, stage)),
            )
        )

    def refusal(self, name: str, **options: Any) -> str:
        """The one line with which a set is refused."""
        (outcome,) = self.prepare(name, **options)
        assert outcome.error is not None
        assert "\n" not in str(outcome.error)
        return str(outcome.error)

    def rows(self, name: str) -> Rows:
        return pq.read_table(self.data / f"{name}.parquet").to_pylist()


def open_workshop(folder: Path) -> Workshop:
    """All sets of the package with three rows per source file, and the count that this makes."""
    shop = Workshop(sources=folder / "sources", data=folder / "data", sets=catalogue())
    for name, spec in shop.sets.items():
        for number, file in enumerate(spec.files):
            rows = [SCHEMAS[name](number * ROWS + i) for i in range(ROWS)]
            write_rows(shop.sources / spec.repository / file, rows)
        if spec.expected_rows is not None:
            shop.declare(name, expected_rows=ROWS * len(spec.files))
    return shop
