"""docs/options.md and schema.json are up to date."""

import pytest
import torch
from packaging.version import Version

from generate_docs import ROOT, options_page
from usrdu_basicsr.options.json_schema import json_schema_text

# The options of an optimizer are the parameters of torch's class.
pytestmark = pytest.mark.skipif(Version(torch.__version__) < Version('2.9'), reason='torch has fewer options for Adam')


@pytest.mark.parametrize(
    ('path', 'generate'),
    [('docs/options.md', options_page), ('usrdu_basicsr/options/schema.json', json_schema_text)],
)
def test_generated_files_are_current(path: str, generate):
    assert (ROOT / path).read_text() == generate(), 'run python scripts/generate_docs.py'
