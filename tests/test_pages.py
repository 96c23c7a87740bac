"""The README and docs/: every command and example in them exists as written, and runs as written on
the simulated cohort.
"""

import argparse
import importlib
import os
import re
import runpy
import shlex
from pathlib import Path

import pytest

from conftest import ROOT, launcher, run_script
from known_ecg import write_recordings
from launcher import Command
from own_files import write_own_networks
from pages import (
    PAGES,
    README,
    blocks,
    commands,
    inline,
    make_root,
    section,
    sections,
    stage_calls,
    type_in,
)
from tiny_ptbxl import write_holters

# what a test must not run, and why
NOT_RUN = {
    "conda": "makes an environment",
    "source": "makes an environment",
    "pip": "makes an environment",
    "python3 -m venv": "makes an environment",
    "./download": "fetches gigabytes (tested against a local server in test_downloads.py)",
    "./reproduce_results.sh": "tested in test_pipeline.py",
    "./run_tests.sh": "runs this test",
    "torchrun --nnodes": "needs two machines",
}

# the lines with placeholders, which are no paths, and what a reader puts there; all others are run
# as they stand
PLACEHOLDERS = {
    "python code/tcav_analysis.py --modeltype=lenet --model_checkpoint_path=path/to/model.ckpt "
    "--logdir=path/to/output/": {
        "path/to/model.ckpt": "output/lenet_subdiagnostic/checkpoints/best_model.ckpt",
        "path/to/output/": "output/",
    },
    "python code/lrp_analysis.py --output_path=output/ --model_path=output/... --pathologies=[AMI, "
    "IMI] --strategy=single_best": {"output/...": "output/lenet_subdiagnostic"},
    "python code/lrp_analysis.py --model_path output/demo/lenet_subdiagnostic "
    "--record path/to/record": {"path/to/record": "data/simulated/records100/00000/00002_lr"},
    "torchrun --nnodes=2 --nproc_per_node=4 --node_rank=0 --master_addr=<address of node 0> "
    "--master_port=29500 "
    "code/train_model.py --logdir=./output --modelname=xresnet --task=superdiagnostic --gpu": {
        "<address of node 0>": "node0"
    },
}

# python block that holds this -> what is true after it
TRUE_AFTER = {
    "# my_net.py": "make_model()(__import__('torch').zeros(2, 12, 1000)).shape == (2, 5)",
    "torch.export.save": "__import__('os').path.getsize('mine.pt2') > 1000",
    "utils.wrap(": "found.attributions.shape == signals.shape and logits.shape == (4, 2) and "
    "np.isfinite(found.attributions[:, :, [1, 6]]).all()",
    "cohort.counterfactual": "as_stored.shape == without.shape == (2, 1000, 12) and"
    " abs(as_stored - __import__('utils').load_dataset('data/simulated').signals[13:15]).max() < "
    "1e-6",
    "ecg.measure_all": "len(peaks) > 4 and height > 0 and len(table) == len(judged) == 20 and "
    "shares.shape == (1000, 12, 24)"
    " and abs(shares.sum(axis=2) - 1).max() < 1e-5 and judged.notna().any(axis=None)",
}

STAGES = [path for path in sorted((ROOT / "code").glob("*.py")) if path.stem != "utils"]
TEXT = "\n".join(PAGES.values())


def without_placeholders(command):
    """The command with paths for its placeholders."""
    for placeholder, path in PLACEHOLDERS.get(command, {}).items():
        command = command.replace(placeholder, path)
    return command


# ---------------------------------------------------------------- seen without running it


def test_the_front_page_is_short():
    assert len(README.splitlines()) <= 300
    assert len(README.encode()) <= 20_000


@pytest.mark.parametrize(
    "command",
    sorted({line for text in PAGES.values() for line in commands(text) if "code/" in line}),
    ids=lambda command: command[:80],
)
def test_every_stage_command_is_understood(command):
    calls = stage_calls(without_placeholders(command))
    assert calls
    for script, *words in calls:
        assert (ROOT / script).is_file()
        name = re.fullmatch(r"code/(\w+)\.py", script)[1]
        parser = importlib.import_module(name).get_args_parser()
        parser.refuse_idle(parser.parse_args(words))


@pytest.mark.parametrize("page", PAGES)
def test_every_bare_block_is_a_command_block_or_python(page):
    text = PAGES[page]
    assert blocks("", text) == []
    assert text.count("\n```") == 2 * (len(blocks("bash", text)) + len(blocks("python", text)))


def test_every_row_of_the_benchmarks_says_what_was_measured():
    benchmarks = section("## Benchmarks", PAGES["docs/results.md"])
    rows = [
        line.split(" | ")
        for line in benchmarks.splitlines()
        if line.startswith("| ") and "bench_" in line
    ]
    assert len(rows) > 10
    assert all(row[2].strip() for row in rows)


def test_placeholders_stand_in_the_registered_lines_alone_with_a_line_beside_them_that_runs():
    for text in PAGES.values():
        lines = commands(text)
        with_placeholder = [line for line in lines if re.search(r"path/to|\.\.\.|<", line)]
        assert set(with_placeholder) <= {*PLACEHOLDERS}
        for line in with_placeholder:
            if not line.startswith(tuple(NOT_RUN)):
                script = re.search(r"code/\w+\.py", line)[0]
                following = lines[lines.index(line) + 1]
                assert script in following
                assert following not in PLACEHOLDERS


def test_the_nine_stages_stand_in_order():
    headings = re.findall(r"^### (\d\. .+)$", README, re.MULTILINE)
    assert [int(heading[0]) for heading in headings] == list(range(1, 10))
    scripts = []
    for heading in headings:
        calls = [
            call
            for line in commands(section(f"### {heading}"))
            for call in stage_calls(without_placeholders(line))
        ]
        [script] = {call[0] for call in calls}
        scripts.append(script)
    names = (
        "preprocessing train_model tcav_analysis lrp_analysis glocal_analysis sanity_checks "
        "discovery counterfactuals report"
    )
    assert scripts == [f"code/{name}.py" for name in names.split()]


class Parsing(Exception):
    """A script has made its parser (args[0]) and would read its words now."""


@pytest.fixture
def parser_of(monkeypatch):
    """path of a script -> the parser that it makes: it is run up to where it parses."""
    parse = argparse.ArgumentParser.parse_args

    def find(path):
        def stop(parser, *_):
            raise Parsing(parser)

        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(path.parent))
            patch.setattr(argparse.ArgumentParser, "parse_args", stop)
            with pytest.raises(Parsing) as stopped:
                runpy.run_path(str(path), run_name="__main__")
        parser = stopped.value.args[0]
        return parser, lambda words: parse(parser, words)

    return find


def options_of(parser):
    """Names of the options of a parser and of its subcommands."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from options_of(sub)


PLACES = ("", "code", "tests", "tests/benchmarks")


def scripts_named(name):
    """Files that a name in backticks may mean, wherever scripts lie."""
    rooms = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "code").iterdir())]
    places = [*PLACES, *(room for room in rooms if (ROOT / room).is_dir())]
    return [found for place in places for found in sorted((ROOT / place).glob(name))]


def test_every_script_named_in_a_sentence_exists():
    words = " ".join(inline(TEXT)).split()
    named = {name for word in words for name in re.findall(r"[\w*/.]*\w*\*?\.(?:py|sh)\b", word)}
    named -= {name for name in named if name.startswith("my_")}  # a reader's own
    assert len(named) > 20
    assert [name for name in sorted(named) if not scripts_named(name)] == []


@pytest.mark.parametrize(
    "text", sorted({text for text in inline(TEXT) if re.match(r"(python )?[\w/]+\.py ", text)})
)
def test_every_command_in_a_sentence_is_understood(text, parser_of):
    script, *words = shlex.split(re.sub(r"<[^>]*>", "placeholder", text).removeprefix("python "))
    parser, parse = parser_of(scripts_named(script)[0])
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= {*options_of(parser)}
    if text.startswith("python ") and words[-1] != "...":
        parse(words)


def test_every_option_in_a_sentence_is_one_of_some_script(parser_of):
    stages = [
        path for path in sorted((ROOT / "code").glob("*.py")) if "\nif __name__" in path.read_text()
    ]
    known = {"--node_rank"}  # of torchrun
    known |= {name for path in stages for name in options_of(parser_of(path)[0])}
    known |= {name for path in ROOT.glob("*.sh") for name in re.findall(r"--\w+", path.read_text())}
    options = " ".join(text for text in inline(TEXT) if text.startswith("--"))
    used = set(re.findall(r"--[\w-]+", options))
    assert len(used) > 50
    assert sorted(used - known) == []


@pytest.mark.parametrize(
    "line",
    [
        "python code/preprocessing.py",
        "python code/train_model.py --logdir=./output  --modelname=lenet --task=subdiagnostic "
        "--gpu",
        "python code/tcav_analysis.py --modeltype=lenet --model_checkpoint_path=path/to/model.ckpt "
        "--logdir=path/to/output/",
        "python code/lrp_analysis.py --output_path=output/ --model_path=output/... "
        "--pathologies=[AMI, IMI] --strategy=single_best",
    ],
)
def test_the_original_lines_are_there_word_for_word(line):
    assert line in README.splitlines()
    assert line in commands(README)


def test_every_stage_is_spoken_of_and_every_picture_exists():
    for stage in STAGES:
        assert f"code/{stage.name}" in TEXT, f"no page speaks of {stage.name}"
    for page, text in PAGES.items():
        pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
        assert pictures or page != "README.md"
        for picture in pictures:
            assert ((ROOT / page).parent / picture).is_file()


def test_every_test_that_a_page_names_is_there():
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)
    assert len(named) > 60
    for file, test in named:
        text = (ROOT / "tests" / file).read_text()
        assert f"\ndef {test}(" in text, f"{file}::{test}"


def test_every_row_of_tries_says_what_happens_and_which_test_holds_it():
    held = section("## What holds each of it", PAGES["docs/faults.md"])
    rows = re.findall(r"^\| (?!what was tried)(.+) \|$", held, re.MULTILINE)
    assert len(rows) > 50
    for row in rows:
        tried, happens, tests = re.split(r"(?<!\\) \| ", row)
        assert tried
        assert happens
        assert "::test_" in tests


def anchors(text):
    """What links within a page can lead to."""
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"(?<!!)\[[^]]*\]\(([^)]+)\)", PAGES[page]):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert file.is_file(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


# ---------------------------------------------------------------- what is run


@pytest.mark.parametrize(
    "block", [block for text in PAGES.values() for block in blocks("python", text)]
)
def test_every_python_example_runs_where_a_reader_stands(block, cohort, tmp_path):
    root = make_root(tmp_path / "root")
    (root / "data").mkdir()
    for name in ("ptbxl", "simulated"):
        (root / "data" / name).symlink_to(cohort)
    [true] = [true for part, true in TRUE_AFTER.items() if part in block]
    (root / "example.py").write_text(f"{block}\nassert {true}\n")
    [done] = launcher().run(Command(["example.py"], root))
    assert done.returncode == 0, done.stderr


def furnish(folder):
    """A copy of the repository's layout as after the download and the demo: records (simulated) in
    data/ptbxl, the demo's cohort and network, and recordings of one's own.

    So many records that the models trained on them have a true positive of every pathology in the
    test fold.
    """
    make_root(folder)
    ptbxl, demo = folder / "data" / "ptbxl", folder / "data" / "simulated"
    run_script("simulate_ptbxl.py", "--output_path", ptbxl, "--n_records", 800, "--seed", 7)
    run_script("simulate_ptbxl.py", "--output_path", demo, "--n_records", 600, "--seed", 0)
    run_script("preprocessing.py", "--data_path", demo)
    recipe = ("--modelname", "lenet", "--task", "subdiagnostic", "--epochs", 30)
    output = folder / "output" / "demo"
    run_script("train_model.py", "--data_path", demo, "--output_path", output, *recipe)
    write_recordings(folder)
    write_holters(folder, 2, seconds=1300, name="holters")
    write_own_networks(folder)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Where commands are typed. XAI4ECG_WORKPLACE names a folder that is kept, so that the sections
    of a page can be typed one after the other by several calls.
    """
    kept = os.environ.get("XAI4ECG_WORKPLACE")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("pages") / "root"
    if not folder.is_dir():
        furnish(folder)
    return folder


# what commands build upon -> the page's command that makes it, where it has not been typed before
MADE_BY = {
    "data/ptbxl/raw100.pkl": "python code/preprocessing.py",
    "output/lenet_subdiagnostic": "python code/train_model.py --modelname lenet "
    "--task subdiagnostic",
}


def make_ready(command, folder):
    """What a command needs and sections before it have made is made, so that every section can be
    run alone: the records preprocessed, and section 2's network.
    """
    needed = {"data/ptbxl/raw100.pkl"} if "preprocessing.py" not in command else set()
    words = re.split(r"[ =]", command)
    needed |= {path for path in MADE_BY for word in words if f"{word}/".startswith(f"{path}/")}
    for path in sorted(needed):
        if not (folder / path).exists():
            type_in(MADE_BY[path], folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "heading"), [(page, heading) for page in PAGES for heading in sections(PAGES[page])]
)
def test_every_command_runs_as_written(page, heading, workplace):
    for command in sections(PAGES[page])[heading]:
        if not command.startswith(tuple(NOT_RUN)):
            filled = without_placeholders(command)
            make_ready(filled, workplace)
            type_in(filled, workplace)


def test_no_command_stands_outside_of_a_section():
    for text in PAGES.values():
        in_sections = [command for typed in sections(text).values() for command in typed]
        assert in_sections == commands(text)
