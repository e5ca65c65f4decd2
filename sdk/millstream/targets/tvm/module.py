"""The printed TVMScript as a TVM module.

TVM's own parser reads all of Python and takes milliseconds a line. The few forms that are printed here are
rewritten instead into calls of the builder behind that parser, and run: a step of 600 lines is a module after
a tenth of a second instead of three.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.tirx import PrimFunc

_COMPARISONS = {
    **{ast.Lt: "LT", ast.LtE: "LE", ast.Gt: "GT", ast.GtE: "GE"},
    **{ast.Eq: "EQ", ast.NotEq: "NE"},
}


def module_of(source: str, words: Any = None) -> IRModule:
    """The module of a class of functions that call each other as `Module.name(...)`, callees first.

    `words` has what the text calls `T`, where that is not TVM's builder itself.
    """
    import tvm
    from tvm.tirx.script import builder

    functions = [item for item in ast.walk(ast.parse(source)) if isinstance(item, ast.FunctionDef)]
    callees, words = _Functions(), words or builder
    made = {callees.named(function.name): _built(function, callees, words) for function in functions}
    return tvm.IRModule(made)


class _Functions:
    """What the printed text knows as `Module`."""

    def __init__(self) -> None:
        self._variables: dict[str, Any] = {}

    def named(self, name: str) -> Any:
        """The global variable of a function."""
        from tvm.ir import GlobalVar

        return self._variables.setdefault(name, GlobalVar(name))

    def __getattr__(self, name: str) -> Any:
        """What calls the function of that name, for its effect alone."""
        from tvm.ir import Call, TupleType

        return lambda *arguments: Call(self.named(name), arguments, ret_ty=TupleType([]))


def _built(function: ast.FunctionDef, callees: _Functions, words: Any) -> PrimFunc:
    from tvm import tirx
    from tvm.script.ir_builder import IRBuilder
    from tvm.tirx.script import builder

    names = {"T": words, "tirx": tirx, "Module": callees}
    body = [_Statements().visit(statement) for statement in function.body]
    program = ast.fix_missing_locations(ast.Module(body, []))
    with IRBuilder() as made, builder.prim_func(is_private=_is_private(function), s_tir=True):
        builder.func_name(function.name)
        for parameter in function.args.args:
            names[parameter.arg] = builder.arg(parameter.arg, _taken(parameter))
        # The text comes from the printer beside this file, never from outside.
        exec(compile(program, f"<{function.name}>", "exec"), names)
    return cast("PrimFunc", made.get())


def _taken(parameter: ast.arg) -> Any:
    """A new T.handle, T.handle(dtype, scope) or T.int32."""
    from tvm.tirx.script import builder

    kind = parameter.annotation
    arguments = kind.args if isinstance(kind, ast.Call) else []
    word = ast.unparse(kind.func if isinstance(kind, ast.Call) else kind or ast.Constant("T.handle"))
    return getattr(builder, word.removeprefix("T."))(*map(ast.literal_eval, arguments))


def _is_private(function: ast.FunctionDef) -> bool:
    return "private=True" in ast.unparse(function.decorator_list[0])


class _Statements(ast.NodeTransformer):
    """TVMScript's statements and comparisons as calls of the builder."""

    def visit_For(self, node: ast.For) -> ast.AST:
        """for i in range(n)  ->  with T.serial(n) as i"""
        self.generic_visit(node)
        if not isinstance(node.iter, ast.Call):
            return node
        loop = _call("T.serial", ast.Constant(0), *node.iter.args)
        return ast.With([ast.withitem(loop, node.target)], node.body)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """x[i] = value  ->  T.buffer_store(x, value, [i])"""
        self.generic_visit(node)
        target = node.targets[0]
        if not isinstance(target, ast.Subscript):
            return node
        target.value.ctx = ast.Load()  # pyright: ignore[reportAttributeAccessIssue]
        place = ast.List([target.slice], ast.Load())
        return ast.Expr(_call("T.buffer_store", target.value, node.value, place))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """x: T.let = value  ->  x = T.Bind(value)"""
        self.generic_visit(node)
        return ast.Assign([node.target], _call("T.Bind", node.value or ast.Constant(None)))

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        """Module.f(x)  ->  T.evaluate(Module.f(x))"""
        self.generic_visit(node)
        called = node.value.func if isinstance(node.value, ast.Call) else None
        if isinstance(called, ast.Attribute) and ast.unparse(called.value) == "Module":
            return ast.Expr(_call("T.evaluate", node.value))
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """x < y  ->  tirx.LT(x, y)"""
        self.generic_visit(node)
        return _call(f"tirx.{_COMPARISONS[type(node.ops[0])]}", node.left, node.comparators[0])


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.parse(name, mode="eval").body, list(arguments), [])
