import pytest

from mesm.corpora.miniature.generate import generate
from mesm.corpora.prepare import PrepareOptions, prepare


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    """Give a raw corpus of eight good clips and the six faults, made once per layout."""
    made = {}

    def make(layout):
        if layout not in made:
            made[layout] = tmp_path_factory.mktemp("raw") / layout
            generate(made[layout], clips=8, seed=1, layout=layout, faults=True, workers=1)
        return made[layout]

    return make


@pytest.fixture(scope="session")
def prepared(raw, tmp_path_factory):
    """Give the raw corpus and the prepared one, made once per layout."""
    made = {}

    def make(layout):
        if layout not in made:
            made[layout] = tmp_path_factory.mktemp("prepared") / layout
            prepare(layout, raw(layout), made[layout], PrepareOptions(min_face_size=80, workers=1))
        return raw(layout), made[layout]

    return make
