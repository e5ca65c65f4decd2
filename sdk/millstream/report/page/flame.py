"""A profile as a page: modules over the modules in them, each as wide as the time that it takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from millstream.profiling import Group, Profile
from millstream.report.page.document import document
from millstream.report.page.markup import escaped, section, table


@dataclass
class Node:
    """A module, or in the end the operators of a group; `microseconds` includes what is below."""

    name: str
    microseconds: float = 0.0
    below: dict[str, Node] = field(default_factory=dict)


def tree(profile: Profile) -> Node:
    """The groups under the modules that their origins name."""
    root = Node(profile.model)
    for group in profile.groups:
        node = root
        node.microseconds += group.microseconds
        for name in _names(group):
            node = node.below.setdefault(name, Node(name))
            node.microseconds += group.microseconds
    return root


def page(profile: Profile) -> str:
    """The picture and the table."""
    seen = (
        f"{profile.rounds:,} rounds with the Numba backend. The step as one function takes "
        f"{profile.whole:.3g} µs, its groups {profile.sum:.3g} µs when each is called by itself; "
        f"{profile.call:.2g} µs of each call are left out."
    )
    columns = ("origin", "µs", "share", "stages", "points", "bytes of weights")
    rows = (
        (g.origin, g.microseconds, f"{share(profile, g):.1%}", g.stages, g.points, g.weight_bytes)
        for g in profile.groups
    )
    picture = f'<div class="flame">{_drawn(tree(profile))}</div>'
    body = section(f"{profile.model}: where a step spends its time", seen, picture)
    return document(f"{profile.model}: profile", (body, section("Fused stages", "", table(columns, rows))))


def share(profile: Profile, group: Group) -> float:
    """Of all groups' time, that of one."""
    return group.microseconds / (profile.sum or 1.0)


def _names(group: Group) -> list[str]:
    """trunk.blocks.0.head Gemm + Relu: trunk, blocks.0, head, and the operators."""
    path, _, operators = group.origin.partition(" ")
    names: list[str] = []
    for part in path.split("."):
        if part.isdigit() and names:
            names[-1] += f".{part}"
        else:
            names.append(part)
    return [*names, operators] if operators else names


def _drawn(node: Node, depth: int = 0) -> str:
    title = f"{node.name}: {node.microseconds:.3g} µs"
    below = "".join(_drawn(each, depth + 1) for each in node.below.values() if each.microseconds)
    row = f'<div class="row">{below}</div>' if below else ""
    return (
        f'<div class="node" style="flex-grow:{1e6 * node.microseconds:.0f}" title="{escaped(title)}">'
        f'<span class="c{depth % 6}">{escaped(title)}</span>{row}</div>'
    )
