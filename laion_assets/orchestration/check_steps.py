"""What all checks share: how they are declared, and which of them are one step of a run."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import dagster as dg

from laion_assets.orchestration.failures import explain_failures

Compute = Callable[..., dg.AssetCheckResult]


@dataclass(frozen=True)
class Check:
    """A check of an asset.

    Attributes:
        spec: its name, its asset, what must hold, whether it blocks what comes after the asset.
        compute: looks; its parameters are `context` and resources by their names, as of an asset.
    """

    spec: dg.AssetCheckSpec
    compute: Compute

    @property
    def needs(self) -> list[str]:
        """The names of its parameters."""
        return list(inspect.signature(self.compute).parameters)

    def evaluate(self, context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        """Returns what it finds, under its name."""
        resources = context.op_execution_context.resources
        given = {
            name: context if name == "context" else getattr(resources, name) for name in self.needs
        }
        return self._name(explain_failures(self.compute)(**given))

    def fail(self, reason: str) -> dg.AssetCheckResult:
        """Returns that it failed because it could not look."""
        return self._name(
            dg.AssetCheckResult(passed=False, description=reason, metadata={"reason": reason})
        )

    def _name(self, result: dg.AssetCheckResult) -> dg.AssetCheckResult:
        return result._replace(asset_key=self.spec.asset_key, check_name=self.spec.name)


def laion_check(
    *, asset: str, description: str | None = None, blocking: bool = False
) -> Callable[[Compute], Check]:
    """Returns the decorator of a check, which has the name of its function.

    Args:
        asset: what is checked.
        description: what must hold; by default the function's docstring.
        blocking: whether nothing is made from the asset if it fails.
    """

    def decorate(compute: Compute) -> Check:
        spec = dg.AssetCheckSpec(
            compute.__name__,
            asset=asset,
            description=description or inspect.getdoc(compute),
            blocking=blocking,
        )
        return Check(spec, compute)

    return decorate


def build_check_steps(checks: Iterable[Check]) -> list[dg.AssetChecksDefinition]:
    """Returns the steps that look: one for each asset, as a step costs as much as a small check.

    A check that blocks has its own, so that no other one can hold up what comes after it. From the
    web UI each can be run alone.
    """

    def key(check: Check) -> tuple[str, str]:
        name = "_".join(check.spec.asset_key.path)
        return name, check.spec.name if check.spec.blocking else ""

    return [
        _build_step("_".join(filter(None, ("check", *names))), list(some))
        for names, some in groupby(sorted(checks, key=key), key)
    ]


def _build_step(name: str, checks: list[Check]) -> dg.AssetChecksDefinition:
    needed = {name for check in checks for name in check.needs} - {"context"}

    @dg.multi_asset_check(
        name=name,
        specs=[check.spec for check in checks],
        required_resource_keys=needed,
        can_subset=True,
    )
    def look(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        failures = []
        for check in checks:
            if check.spec.key in context.selected_asset_check_keys:
                try:
                    yield check.evaluate(context)
                except dg.Failure as failure:
                    failures.append(failure)
                    yield check.fail(str(failure.description))
        if failures:
            # The run fails, too, once all have looked.
            raise failures[0]

    return look
