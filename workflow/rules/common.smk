# Functions of wildcards that several rules use.

RETAINED = {name: text.corpus for name, text in STUDY.evaluation.texts.items()}
CHOSEN = {name: plan.task_of(STUDY, name).corpus for name in STUDY.evaluation.choices}


def digests(stage):
    """The two parameters that say whether a job's outcome is still true."""
    return {
        "code": lambda w: plan.code(STUDY, stage, **dict(w)),
        "science": lambda w: plan.science(STUDY, stage, **dict(w)),
    }


def trained(wildcards):
    """The record of the cell's training; nothing for the untouched model."""
    cell = wildcards.cell
    return [] if cell == plan.BASE else f"{OUT}/train/{cell}/record.json"


def trained_flag(wildcards):
    cell = wildcards.cell
    return "" if cell == plan.BASE else f"--trained {OUT}/train/{cell}"


def seed_flag(wildcards):
    found = plan.cell(STUDY, wildcards.cell)
    return found.seed if found else STUDY.seeds[0]


def selected(wildcards):
    """The selection that decides the cell's rate; nothing where the study gives the rate."""
    chosen = plan.selection(STUDY, wildcards.setting, wildcards.method)
    return f"{OUT}/select/{chosen[0]}/{chosen[1]}.json" if chosen else []


def task_data(wildcards):
    return f"{OUT}/data/{plan.task_of(STUDY, wildcards.run).corpus}/record.json"


def local_files(wildcards):
    """The user's own files behind a catalogue entry, so that an edit re-runs what reads them."""
    return plan.local_files(STUDY, dict(wildcards).get("model") or wildcards.corpus)


onstart:
    for line in check_available(plan.wanted_sources(STUDY, Path(OUT))):
        print(f"To fetch: {line}")
