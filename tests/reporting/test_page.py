import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
import yaml

from kdstats.reporting.page import FIGURES, SYMBOLS, TABLES, files, html


class Page(HTMLParser):
    """Tags with their attributes, and the text under each."""

    VOID = ("meta", "br", "link", "img", "input", "hr")

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.stack = [], [], []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append((tuple(self.stack), data))

    def under(self, tag):
        return [data for stack, data in self.text if tag in stack]

    def words(self):
        return " ".join("".join(data for stack, data in self.text if "style" not in stack).split())


def page_of(results):
    results = results.tidy()
    return Page(html(results, {name: make(results) for name, make in TABLES.items()}, {}))


@pytest.fixture(scope="module")
def source(report):
    return (report / "index.html").read_text("utf-8")


@pytest.fixture(scope="module")
def page(source):
    return Page(source)


def test_page_is_well_formed_and_self_contained(page, source):
    assert page.stack == []
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    links = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("href", "src", "xlink:href")]
    assert all(link.startswith(("#", "tables/", "figures/")) for link in links)
    assert "@import" not in source
    assert "url(http" not in source
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")


def test_links_lead_somewhere(page, report):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for name in ("href", "xlink:href"):
            target = attrs.get(name, "#asked")
            assert target[1:] in ids if target.startswith("#") else (report / target).is_file(), target


def test_page_is_accessible(page):
    attributes = dict(page.tags)
    assert attributes["html"] == {"lang": "en"}
    assert "viewport" in {attrs.get("name") for tag, attrs in page.tags if tag == "meta"}
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == tags.count("main") == 1
    assert tags.count("caption") == tags.count("table") == len(TABLES)
    assert tags.count("figcaption") == tags.count("svg") == len(FIGURES)
    for tag, attrs in page.tags:
        if tag == "svg":
            assert attrs["role"] == "img"
            assert attrs["aria-labelledby"]
        if tag == "th":
            assert attrs["scope"] in ("row", "col")


def test_verdicts_come_first_in_words(page, digits):
    words = page.words()
    assert words.index("What was asked") < words.index("agrees-more[alpha=0.1]") < words.index("Paired slopes")
    for row in digits.verdicts.to_dict("records"):
        assert row["sentence"] in words
        assert f"{row['verdict']} {row['hypothesis']}" in words
    assert "15 hypotheses in family confirmatory" in words
    assert "Whole-protocol error not controlled" not in words


def test_words_are_explained_before_they_are_used(page, source, digits):
    words = page.words()
    assert words.index("Words used below") < words.index("Split example") < words.index("agrees-more[alpha=0.1]")
    assert "Repeats 18 more of 47 at 0.5." in words
    without = replace(digits, inheritance=pd.DataFrame(), verdicts=digits.verdicts[:3])
    assert "Words used below" not in page_of(without).words()


def test_every_verdict_has_its_mark(digits):
    verdicts = digits.verdicts.assign(verdict=["not shown", "withdrawn", "supported"] * 5)
    page = page_of(replace(digits, verdicts=verdicts, contrasts=digits.contrasts.assign(verdict="")))
    classes = [attrs["class"] for _, attrs in page.tags if attrs.get("class", "").startswith("verdict ")]
    assert set(classes) == {"verdict not-shown", "verdict withdrawn", "verdict supported"}
    css = "".join(page.under("style"))
    assert all(f".{name.replace(' ', '-')}" in css for name in SYMBOLS)
    assert "line-through" not in css  # a struck "withdrawn" would read as its opposite
    assert "5 supported, 5 not shown and 5 withdrawn." in page.words()


def test_page_says_how_it_was_made(page, digits):
    words = page.words()
    for said in (digits.protocol_hash, "kdstats 0.1.0, torch 2.15.0", "Linux x86_64", "kdstats run protocol.yaml"):
        assert said in words
    assert yaml.safe_load("".join(page.under("pre"))) == digits.protocol
    assert "every network of the plan was trained" in words


def test_no_dates_and_no_paths(report, digits):
    amendment = {"when": "2026-05-04T03:02:01+00:00", "hash": "a" * 64, "added": {"student_seeds": [2]}}
    texts = [page_of(replace(digits, amendments=[amendment])).words()]
    texts += [file.read_text("utf-8") for file in report.rglob("*") if file.suffix != ".pdf" and file.is_file()]
    for text in texts:
        assert not re.search(r"20\d\d-\d\d-\d\d", text)
        assert str(report) not in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"correction": "bh"}, "Benjamini–Hochberg controls the false discovery rate"),
        ({"correction": "by"}, "Benjamini–Yekutieli controls the false discovery rate"),
    ],
)
def test_other_corrections_are_warned_of(digits, change, said):
    words = page_of(replace(digits, protocol={**digits.protocol, **change})).words()
    assert f"Whole-protocol error not controlled: {said}" in words


def test_split_families_are_warned_of(digits):
    verdicts = digits.verdicts.assign(family=["one"] * 6 + ["two"] * 9)
    words = page_of(replace(digits, verdicts=verdicts)).words()
    assert "error not controlled: the hypotheses are corrected in 2 separate families (one, two)." in words
    assert "6 hypotheses in family one and 9 hypotheses in family two" in words


def test_amendments_failures_and_mixed_devices_are_said(digits):
    added = {"points": [["kd", "alpha=0.9 temperature=4"]], "teacher_seeds": [8, 9], "hypotheses": []}
    amendments = [{"hash": "b" * 64, "added": added, "replicates_existed": True, "scores_existed": True}]
    amendments += [{"hash": "c" * 64, "added": {"student_seeds": [1]}, "replicates_existed": False}]
    failures = [("kd", "alpha=0.9 temperature=4", 3, 1, 120, "the loss became NaN"), ("teacher", "", 4, None, 7, "inf")]
    failures = pd.DataFrame(failures, columns=list(digits.failures))
    environment = {"made_on": ["cpu, torch 2.15.0", "cuda, torch 2.15.0"]}
    words = page_of(replace(digits, amendments=amendments, failures=failures, environment=environment)).words()
    for said in (
        "declared after training points kd alpha=0.9 temperature=4; teacher seeds 8, 9"
        " (when replicates and scores existed; protocol then bbbbbbbbbbbb)",
        "student seeds 1 (before anything was trained; protocol then cccccccccccc)",
        "amended after training had begun",
        "2 networks failed to train",
        "kd α = 0.9: 1 failed. teacher 3, seed 1, step 120: the loss became NaN",
        "teacher: 1 failed. teacher 4, step 7: inf",
        "different devices or versions (cpu, torch 2.15.0; cuda, torch 2.15.0)",
    ):
        assert said in words


def test_no_hypotheses_is_said(make):
    words = page_of(make(teachers=2, alphas=(0.5,), hypotheses=False)).words()
    assert "declares no hypotheses, so everything below is exploratory" in words


# Text stays text -------------------------------------------------------------------------------------------------

ARMS = {"siddo": "$x_1$", "kd": "<script>alert(1)</script>", "kd-other": "=1+1", "rcd": "[red]x[/red]"}
OTHERS = ["a|b", r"\input{x}", "100% & _more_", "</pre><img src=x onerror=alert(1)>", "`x` {{ 7*7 }} {% raw %}"]


def test_hostile_names_stay_text_in_every_file(make, python_strings):
    results = make(teachers=4, alphas=(0.5,), rename=ARMS)
    hypotheses = dict(zip(results.verdicts["hypothesis"], OTHERS, strict=False))
    failure = (ARMS["kd"], "alpha=0.5 temperature=4", 0, 0, 1, OTHERS[3] + "\x00\ud800")
    protocol = {**results.protocol, "name": OTHERS[4], "dataset": OTHERS[3]}
    results = replace(
        results,
        protocol=protocol,
        environment={"device": OTHERS[3], OTHERS[0]: {OTHERS[1]: OTHERS[2]}},
        contrasts=results.contrasts.replace({"hypothesis": hypotheses}).assign(note=OTHERS[3]),
        verdicts=results.verdicts.replace({"hypothesis": hypotheses}).assign(sentence=OTHERS[3]),
        failures=pd.DataFrame([failure], columns=list(results.failures)),
    )
    written = files(results.tidy())
    page = Page(written["index.html"].decode())
    assert page.stack == []
    assert not {tag for tag, _ in page.tags} & {"script", "img", "red"}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    words = page.words()
    for name in [*ARMS.values(), *OTHERS]:
        assert name in words
    for name in ("verdicts", "contrasts", "arms", "exploratory"):
        for row in csv.reader(io.StringIO(written[f"tables/{name}.csv"].decode())):
            assert not any(cell[:1] in "=+@" and cell for cell in row)
        tex = written[f"tables/{name}.tex"].decode()
        assert not re.search(r"\\input\{|(?<!\\)\$x|(?<!\\)&\w|<script", tex)
        markdown = written[f"tables/{name}.md"].decode()
        assert not re.search(r"<script|<img|\[red\]x", markdown)
    assert "'=1+1" in written["tables/arms.csv"].decode()
    assert r"\textless{}script\textgreater{}alert(1)" in written["tables/arms.tex"].decode()
    for name in ("inherited", "accuracy_agreement", "estimates"):
        svg = written[f"figures/{name}.svg"].decode()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in svg
        assert "<script" not in svg
