import subprocess
import sys

import pytest

from deltanet_edu.lm.config import Config
from deltanet_edu.lm.corpus import Corpus, Text
from deltanet_edu.lm.data import Data
from deltanet_edu.lm.stories import stories

TINY = dict(corpus="stories", vocab=300, layers=2, d_model=16, heads=2, mlp_hidden=32, batch=4, length=32, steps=60)


@pytest.fixture(scope="session")
def tiny():
    return Config(**TINY)


@pytest.fixture(scope="session")
def corpus():
    return Corpus("small", (Text.cut("one", stories(1, 40_000)), Text.cut("two", stories(2, 30_000))))


@pytest.fixture(scope="session")
def data(corpus):
    return Data.prepare(corpus, TINY["vocab"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 12 steps on a text of one's own, and the folder it lies in."""
    from deltanet_edu.lm.train import train

    folder = tmp_path_factory.mktemp("runs")
    (folder / "my.txt").write_text(stories(5, 60_000))
    config = Config(corpus=str(folder / "my.txt"), vocab=300, layers=1, d_model=16, heads=2, batch=4, length=16,
                    steps=12)
    train(config, folder / "mine", device="cpu", say=lambda line: None)
    return folder / "mine"


@pytest.fixture
def run_python():
    def run(code):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout
    return run
