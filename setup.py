"""Package metadata; pyproject.toml names the build backend and holds the settings of the development tools."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
EXPORT = ['onnx', 'onnxruntime', 'onnxscript']  # for scripts/export.py
METRICS = ['torchmetrics>=1.8']  # for calculate_lpips and calculate_dists
SPANDREL = ['spandrel']  # for SpandrelArch
STUDY = [*METRICS, 'matplotlib']  # for scripts/study


def read_version() -> str:
    """The version, read as text: importing the package is for an environment that has its dependencies."""
    source = (ROOT / 'usrdu_basicsr' / 'version.py').read_text(encoding='utf-8')
    found = re.search(r"^__version__ = '([^']+)'$", source, re.MULTILINE)
    if found is None:
        raise RuntimeError('usrdu_basicsr/version.py has no line __version__ = ...')
    return found.group(1)


setup(
    name='usrdu_basicsr',
    version=read_version(),
    description='Real-world super-resolution from unpaired images, as a plugin for BasicSR',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Image Processing',
    ],
    packages=find_packages(include=['usrdu_basicsr', 'usrdu_basicsr.*']),
    package_data={'usrdu_basicsr.options': ['schema.json']},
    # With this, an editable install is a plain path line. Without it, setuptools installs an import finder whose own
    # imports slow down every start of Python.
    package_dir={'': '.'},
    python_requires='>=3.10,<3.13',  # BasicSR 1.4.2 does not build on Python 3.13
    install_requires=[
        'basicsr>=1.4.2',
        'torch>=2.4',
        'torchvision',
        'numpy',
        'opencv-python',
        'pydantic>=2.9',
        'pyyaml',
        'lmdb',
        'tqdm',
        'psutil',
        'scipy',
        'Pillow',
        'safetensors',  # export of `usrdu fit`
        'argcomplete',  # completion of the command in the shell
        # No `tensorboard` here: BasicSR requires tb-nightly, which holds the same package, and with both installed
        # `tensorboard --logdir` ends with "Duplicate plugins for name projector".
        # tb-nightly imports pkg_resources, which setuptools 82 removed. BasicSR imports distutils, which Python 3.12
        # has from setuptools alone.
        'setuptools<82',
    ],
    entry_points={'console_scripts': ['usrdu = usrdu_basicsr.cli.main:main']},
    extras_require={
        'export': EXPORT,
        'metrics': METRICS,
        'spandrel': SPANDREL,
        'study': STUDY,
        # setuptools: test_install.py builds wheels without downloads, and older versions need the package `wheel` too
        'test': [
            'pytest',
            'pytest-xdist',
            'ruff',
            'mypy',
            'import-linter',
            'jsonschema',
            'setuptools>=70.1',
            *EXPORT,
            *SPANDREL,
            *STUDY,
        ],
    },
)
