"""The reward function that is named: whether it is there, and whether it is named where verl reads it."""

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from treepo.config import ConfigError
from treepo.start.declared import Start, reads

_OPTION = "reward.custom_reward_function"
_PACKAGE, _FILE = "pkg://", "file://"
# verl 0.9.1 composes these (trainer/config/legacy_reward_impl.yaml) and its trainer reads none of them.
_OLD: dict[str, str] = {
    "custom_reward_function": _OPTION,
    "reward_model": "reward.reward_model",
    "sandbox_fusion": "reward.sandbox_fusion",
}
_MOVED: dict[str, str] = {
    "reward_model.num_workers": "reward.num_workers",
    "reward_model.reward_manager": "reward.reward_manager.name",
    "reward_model.reward_loop_source": "reward.reward_manager.source",
    "reward_model.reward_loop_module_path": "reward.reward_manager.module.path",
    "reward_model.reward_loop_class_name": "reward.reward_manager.name",
    "reward_model.reward_kwargs": "reward.reward_kwargs",
    "reward_model.model.path": "reward.reward_model.model_path",
}


@reads(*_OLD)
def old_options(start: Start) -> None:
    """Refuses options of verl's older layout, which nothing reads."""
    for old, new in _OLD.items():
        for option, value in _given(start.config.get(old), old):
            moved = next((name for name in _MOVED if option == name or option.startswith(f"{name}.")), None)
            now = _MOVED[moved] + option.removeprefix(moved) if moved else new + option.removeprefix(old)
            raise ConfigError(f"{option}={value} is refused: nothing reads it in verl 0.9; set {now} in its place")


@reads(f"{_OPTION}.path", f"{_OPTION}.name")
def function(start: Start) -> None:
    """Refuses a reward function that is not there, or that certainly gives no score.

    The file is parsed and not run: it is the workers' to import, on every node.
    """
    named = start.config.reward.custom_reward_function
    if named.path:
        _check_function(str(named.path), str(named.name))


def _given(value: object, name: str) -> Iterator[tuple[str, object]]:
    if OmegaConf.is_dict(value):
        assert isinstance(value, DictConfig)
        for key in value:
            yield from _given(value[key], f"{name}.{key}")
    elif value is not None:
        yield name, value


def _check_function(path: str, name: str) -> None:
    file = _source(path)
    if file is None:
        return
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{_OPTION}.path={path} cannot be read: {error}; mend {file}") from error
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    names = set(_names(tree.body))
    if name not in names and "*" not in names:
        there = ", ".join(function.name for function in functions)
        raise ConfigError(
            f"{_OPTION}.name={name} is refused: {file} defines no such function; it has {there or 'none'}"
        )
    for function in functions:
        # A decorator may return what it likes.
        if function.name == name and not function.decorator_list and (problem := _score_problem(function)):
            raise ConfigError(f"{_OPTION}.name={name} is refused: in {file} it {problem}")


def _score_problem(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    """Why some response certainly gets no score; verl takes a number, or a dict with the key ``score``."""
    remedy = "return a number, or a dict with the key score, on every way through it"
    returns = [node for node in _own_nodes(function) if isinstance(node, ast.Return)]
    if not returns and isinstance(function.body[-1], ast.Raise):
        return None
    for node in returns:
        if node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None):
            return f"returns nothing in line {node.lineno}; {remedy}"
        if isinstance(node.value, ast.Dict) and None not in node.value.keys:
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.value.keys]
            if None not in keys and "score" not in keys:
                return f"returns a dict without the key score in line {node.lineno}; {remedy}"
    if _may_end(function.body):
        return f"may come to its end in line {function.body[-1].end_lineno} without returning anything; {remedy}"
    return None


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in a function, without what stands in functions within it."""
    for inner in ast.iter_child_nodes(node):
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield inner
            yield from _own_nodes(inner)


def _may_end(body: list[ast.stmt]) -> bool:
    """Whether some way leads past the last of these statements; False where that is not certain."""
    match body[-1]:
        case ast.Return() | ast.Raise() | ast.Assert() | ast.While() | ast.With() | ast.AsyncWith() | ast.Match():
            return False
        case ast.Expr(value=ast.Call() | ast.Await()):
            # What is called may raise.
            return False
        case ast.If(body=then, orelse=otherwise):
            return not otherwise or _may_end(then) or _may_end(otherwise)
        case ast.Try(body=tried, handlers=handlers, orelse=otherwise, finalbody=last):
            if last and not _may_end(last):
                return False
            return _may_end(otherwise or tried) or any(_may_end(handler.body) for handler in handlers)
        case _:
            return True


def _source(path: str) -> Path | None:
    """The file behind the option; None where it is no Python source that can be read, such as a compiled module."""
    if not path.startswith(_PACKAGE):
        file = Path(path.removeprefix(_FILE))
        if not file.is_file():
            raise ConfigError(
                f"{_OPTION}.path={path} is refused: there is no such file; give the whole path of one that is on "
                "every node"
            )
        return file
    module = path.removeprefix(_PACKAGE).replace("/", ".")
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise ConfigError(
            f"{_OPTION}.path={path} is refused: Python finds no module {module}; put its folder into PYTHONPATH, on "
            "every node, or give the path of the file"
        )
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


def _names(statements: list[ast.stmt]) -> Iterator[str]:
    """What a module binds at its top, in branches included; ``*`` where an import brings what cannot be known."""
    for node in statements:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from ((alias.asname or alias.name).partition(".")[0] for alias in names)
            case _:
                yield from (
                    inner.id
                    for inner in ast.walk(node)
                    if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
                )
                yield from _names([inner for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.stmt)])
                if isinstance(node, ast.Try):
                    yield from (name for handler in node.handlers for name in _names(handler.body))
