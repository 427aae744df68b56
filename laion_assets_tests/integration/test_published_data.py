"""Every example for the readers of a published release runs on a release of the demo.

They run as they stand, against a Hub on loopback and with a copy that `hf download` made.
"""

import importlib.util
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import lancedb
import pytest

from laion_assets.settings import REPOSITORY
from laion_assets_tests.integration.conftest import Shell
from laion_assets_tests.servers.writable_hub import TOKEN, run_writable_hub

PAGE = REPOSITORY / "docs" / "how-to" / "published-data.md"
DATASET = "lab/laion-lemurs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", flags=re.M | re.S)
EXAMPLES = [
    (title, code)
    for title, text in re.findall(
        r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    for code in BLOCK.findall(text)
]
HAS_DATASETS, HAS_TORCH = (
    importlib.util.find_spec(name) is not None for name in ("datasets", "torch")
)
TERMS = '[publish]\nlicense = "cc-by-4.0"\ncontact = "removals@a.test"\n'


@pytest.fixture(scope="module")
def place(demo: Shell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a copy of the demo's release, which is on a Hub, too."""
    folder = tmp_path_factory.mktemp("readers")
    terms = folder / "curation.toml"
    terms.write_text(TERMS, encoding="utf-8")
    with run_writable_hub() as hub:
        variables = {
            "HF_ENDPOINT": hub.origin,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(folder / "hf"),
            # The Hub's own way to bring large files has no server here.
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        publisher = Shell(demo.data_dir, {**variables, "LAION_CURATION": str(terms)})
        published = publisher.start("laion", "publish", f"hf://datasets/{DATASET}")
        assert published.returncode == 0, published.stderr
        hub.repositories[DATASET].is_private = False
        published = publisher.start("laion", "publish", str(folder / "published"))
        assert published.returncode == 0, published.stderr
        hf = Path(sys.executable).with_name("hf")
        command = f"{hf} download {DATASET} --repo-type dataset --local-dir {folder}/laion-lemurs"
        downloaded = publisher.start(*command.split())
        assert downloaded.returncode == 0, downloaded.stderr
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            yield folder


def test_there_is_an_example_for_each_section_of_the_card() -> None:
    sections = dict.fromkeys(title for title, _ in EXAMPLES)
    assert list(sections) == [
        "Load with datasets",
        "Load with LanceDB",
        "Load with Lance",
        "Search",
        "Curate",
        "Evolve",
        "Train",
        "Versioning",
        "Materialize a subset",
    ]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "number", range(len(EXAMPLES)), ids=[re.sub(r"\W", "-", t) for t, _ in EXAMPLES]
)
def test_an_example_runs(
    place: Path, number: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = EXAMPLES[number][1]
    if "import datasets" in code and not HAS_DATASETS:
        pytest.skip("datasets is not installed: `pip install datasets` and run it again")
    if "from torch" in code and not HAS_TORCH:
        pytest.skip("torch is not installed: `pip install torch` and run it again")
    script = place / "example.py"
    script.write_text(code, encoding="utf-8")
    monkeypatch.chdir(place)
    runpy.run_path(str(script), run_name="__main__")
    said = capfd.readouterr().out
    assert said
    # What it says is about rows that are there.
    assert not re.match(r"0\s", said), said


@pytest.mark.exhaustive
@pytest.mark.skipif(not HAS_DATASETS, reason="datasets is not installed")
def test_datasets_loads_a_folder_and_the_hub(place: Path) -> None:
    import datasets

    # The other copy is one that an example adds columns to.
    folder = place / "published"
    rows = lancedb.connect(folder / "data").open_table("train").count_rows()
    for source in (str(folder), DATASET):
        for table in ("default", "domain_counts", "entity_counts"):
            loaded = datasets.load_dataset(source, table, split="train")
            streamed = datasets.load_dataset(source, table, split="train", streaming=True)
            assert next(iter(streamed)) == loaded[0]
            if table == "default":
                assert loaded.num_rows == rows
