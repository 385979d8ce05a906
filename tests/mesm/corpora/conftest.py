import pytest

from mesm.corpora.miniature import generate


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
