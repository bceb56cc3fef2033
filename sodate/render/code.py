"""The Python that is made of a chat template: Jinja's, with what could make much or take long handed to the sandbox."""

from __future__ import annotations

import jinja2
import jinja2.compiler
import jinja2.ext
import jinja2.nodes
import jinja2.parser


class Generation(jinja2.ext.Extension):
    """Accepts `{% generation %}…{% endgeneration %}`. Masks here come from structure, so the tag changes nothing."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own protocol)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


class Generator(jinja2.compiler.CodeGenerator):
    """Hands `a ~ b`, `a[b:c]` and comparisons to the sandbox, what waits in a macro or a block, and `a + b + c` as one:
    Jinja would hand over every single `+`.
    """

    def buffer(self, frame: jinja2.compiler.Frame) -> None:
        frame.buffer = self.temporary_identifier()
        self.writeline(f"{frame.buffer} = environment.pieces()")

    def visit_Compare(self, node: jinja2.nodes.Compare, frame: jinja2.compiler.Frame) -> None:  # noqa: N802
        self.write("environment.in_time(")
        super().visit_Compare(node, frame)
        self.write(")")

    def visit_Add(self, node: jinja2.nodes.Expr, frame: jinja2.compiler.Frame) -> None:  # noqa: N802 (Jinja's names)
        terms = []
        while isinstance(node, jinja2.nodes.Add):
            terms.append(node.right)
            node = node.left
        self.write("environment.added((")
        for one in [node, *reversed(terms)]:
            self.visit(one, frame)
            self.write(", ")
        self.write("))")

    def visit_Concat(self, node: jinja2.nodes.Concat, frame: jinja2.compiler.Frame) -> None:  # noqa: N802
        self.write("concat(map(environment.text, (")
        for one in node.nodes:
            self.visit(one, frame)
            self.write(", ")
        self.write(")))")

    def visit_Getitem(self, node: jinja2.nodes.Getitem, frame: jinja2.compiler.Frame) -> None:  # noqa: N802
        slicing = isinstance(node.arg, jinja2.nodes.Slice)
        self.write("environment.counted(" if slicing else "(")
        super().visit_Getitem(node, frame)
        self.write(")")
