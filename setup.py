"""Where the packages of a wheel lie; pyproject.toml has everything else.

A wheel carries the configs and the tiny MAE inside the package; imted.model_zoo finds both there.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages("projects/imTED"), "imted.configs", "imted.weights"],
    package_dir={
        "imted": "projects/imTED/imted",
        "imted.configs": "configs",
        "imted.weights": "projects/imTED/weights",
    },
    package_data={
        "imted": ["py.typed", "extras/*/templates/*.html", "extras/web/static/*"],
        "imted.configs": ["**/*.py"],
        "imted.weights": ["*.pth"],
    },
)
