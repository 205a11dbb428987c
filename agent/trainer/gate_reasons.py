"""Texts that say why the gate published a candidate or not."""

from __future__ import annotations

from agent.trainer.gate import Candidate, Comparison, Gate, KnownReturn


def describe(candidate: Candidate) -> str:
    """Describe the origin of a candidate, with its mean score if any family has a scale."""
    if candidate.mean_score is None:
        return candidate.origin
    return f"{candidate.origin}: mean score {candidate.mean_score:.3f}"


def explain(candidate: Candidate, gate: Gate) -> str:
    """Say why the gate lets a candidate pass, or which families fall."""
    fallen, lost = gate.fallen(candidate), gate.lost(candidate)
    reasons = []
    if fallen:
        listed = ", ".join(_fall(comparison, gate.best.get(comparison.family)) for comparison in fallen)
        reasons.append(f"falls by more than {gate.tolerance:g} on {listed}")
    if lost:
        listed = ", ".join(f"{loss.family} (KL {loss.divergence:.3f})" for loss in lost)
        reasons.append(f"acts differently in stored trials of {listed}, which cannot be played")
    if reasons:
        return f"{candidate.origin}: {'; '.join(reasons)}"
    return f"{describe(candidate)}, no family falls by more than {gate.tolerance:g}"


def _fall(comparison: Comparison, best: KnownReturn | None) -> str:
    """Describe a fall, by scores if the family has a scale, else by returns."""
    scale = comparison.yardstick.scale

    def text(value: float) -> str:
        return f"{value:.4g}" if scale is None else f"{scale.score(value):.3f}"

    before = comparison.yardstick.published or best
    return (
        f"{comparison.family}{' (return)' if scale is None else ''}"
        f"{'' if before is None else f' {text(before.mean)} →'} {text(comparison.mean)}"
        f"{'' if best is None else f' (best {text(best.mean)})'}"
    )
