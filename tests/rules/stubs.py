"""What a stub and a native module say about themselves, to compare them."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

PYBIND_SIGNATURE = re.compile(r"^(?:\d+\. )?\w+\((.*)\) -> ", re.MULTILINE)

Names = dict[str, list[str] | None]  # dotted public name -> parameter names, None where it is no function


def is_public(name: str) -> bool:
    return not name.startswith("_")


def stub_names(body: list[ast.stmt], prefix: str = "") -> Names:
    names: Names = {}
    for node in body:
        if isinstance(node, ast.FunctionDef) and is_public(node.name):
            every = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            is_value = any(re.search(r"property$|\.setter$", ast.unparse(d)) for d in node.decorator_list)
            names[prefix + node.name] = None if is_value else [a.arg for a in every if a.arg not in ("self", "cls")]
        elif isinstance(node, ast.ClassDef) and is_public(node.name):
            names[prefix + node.name] = None
            names |= stub_names(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and is_public(node.target.id):
            names[prefix + node.target.id] = None
    return names


def signature_parameters(doc: str) -> list[str]:
    """Parameter names in pybind11's first line, `f(self: X, rows: Annotated[..., "a, b"], k: int = 1) -> Y`."""
    match = PYBIND_SIGNATURE.search(doc)
    inner, depth, parts = (match[1] if match else ""), 0, [""]
    for character in re.sub(r'"[^"]*"', "", inner):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    names = [part.split(":")[0].split("=")[0].strip() for part in parts]
    return [name for name in names if name and name not in ("self", "*", "/")]


def native_names(owner: Any, prefix: str = "") -> Names:
    names: Names = {}
    for name in filter(is_public, vars(owner)):
        member = getattr(owner, name)
        if inspect.ismodule(member):
            continue
        if inspect.isclass(member):
            names[prefix + name] = None
            names |= native_names(member, f"{prefix}{name}.")
        elif callable(member):
            names[prefix + name] = signature_parameters(member.__doc__ or "")
        else:
            names[prefix + name] = None
    return names


def agree(stub: list[str] | None, native: list[str] | None) -> bool:
    """Same names; only the same number where the binding names none and takes its arguments by position."""
    if stub is None or native is None or not all(re.fullmatch(r"arg\d+", name) for name in native):
        return native is None or stub == native
    return len(stub) == len(native)


def differences(stub: Names, native: Names) -> list[str]:
    """What the two do not agree on."""
    alone = sorted(stub.keys() ^ native.keys())
    return [f"{name}: only in the {'stub' if name in stub else 'module'}" for name in alone] + [
        f"{name}: {stub[name]} in the stub, {found} in the module"
        for name, found in native.items()
        if name in stub and not agree(stub[name], found)
    ]
