"""Which cases fail: what their notes have in common, and what those that pass have not."""

from .formatting import number, phrases


def where_it_fails(exercise, wrong):
    """A headline that says where an answer goes wrong, if the notes of the cases can tell."""
    said = "".join(failure_pattern(exercise, wrong)).partition("; ")[2].rstrip(".")
    alone = said.startswith("right") and ", " in said and list(wrong).count(False) == 1  # its name says no more
    return f"it is {said}" if said and not alone and "numbers" not in said else ""       # easy numbers are no reason


def failure_pattern(exercise, wrong):
    """A sentence that says which cases fail: a phrase that the notes of all failing cases have, and no other."""
    notes = [case.note for case in exercise.case_list]
    failed, passed = [n for n, bad in zip(notes, wrong) if bad], [n for n, bad in zip(notes, wrong) if not bad]
    if not passed:
        return []
    count = f"Right on {len(passed)} of {len(notes)} cases"
    sets = [set(phrases([n])) for n in failed], [set(phrases([n])) for n in passed]
    common = set.intersection(*sets[0])
    telling = [p for p in phrases(failed[:1]) if p in common and not any(p in s for s in sets[1])]
    if telling:
        return [f"{count}; wrong exactly when: {', '.join(telling)}."]
    always = [p for p in phrases(passed[:1]) if all(p in s for s in sets[1]) and not any(p in s for s in sets[0])]
    if always:
        return [f"{count}; right exactly when: {', '.join(always)}."]
    rest = _leading_setting(failed, passed)
    return [f"{count}; {rest}."] if rest else [f"{count}."]


def _leading_setting(failed, passed):
    """For a numeric setting such as T: "wrong when T >= 2", if that separates the cases."""
    def settings(notes):
        return [dict(p.split(" = ", 1) for p in phrases([n]) if " = " in p) for n in notes]

    bad, good = settings(failed), settings(passed)
    for name in bad[0]:
        try:
            low, high = [float(s[name]) for s in bad], [float(s[name]) for s in good]
        except (KeyError, ValueError):
            continue
        if min(low) > max(high):
            return f"wrong when {name} ≥ {number(min(low))}"
        if max(low) < min(high):
            return f"wrong when {name} ≤ {number(max(low))}"
    return ""
