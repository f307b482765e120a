"""What pyproject.toml cannot say: presets stand in ``configs/`` of the checkout, and in the package once installed."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["treepo", "treepo.*"]), "treepo.configs"],
    package_dir={"treepo.configs": "configs"},
)
