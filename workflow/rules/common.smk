# Functions of wildcards that several rules use.


def digests(stage):
    """The two parameters that say whether a job's outcome is still true."""
    return {
        "code": lambda w: staleness.code(STUDY, stage, **dict(w)),
        "science": lambda w: staleness.science(STUDY, stage, **dict(w)),
    }


def names_of(wildcards):
    """The names of a job of a setting: the axes, the model where there are several, and the rate
    where a grid is reported."""
    names = dict(wildcards)
    rate = names.pop("grid", "").removeprefix("lr-").removesuffix("/")
    model = names.pop("on").removesuffix("/")
    if model:
        names = {"model": model, **names}
    return {**names, "rate": rate} if rate else names


def name_flag(wildcards):
    """The name of the job's model, where the study has several."""
    return f"--model-name {wildcards.on[:-1]}" if wildcards.on else ""


def model(wildcards):
    """The record of the model that a job stands on; of a tuning job the setting's first."""
    names = dict(wildcards)
    if names.get("on"):
        name = names["on"].removesuffix("/")
    elif "setting" in names:
        name = STUDY.models_of(names["setting"])[0]
    else:
        label = f"other/{names['other']}" if "other" in names else names["cell"]
        name = cells.model_of(STUDY, label)
    return f"{OUT}/models/{name}/record.json"


def tuning_data(wildcards):
    """The packed data of a setting, of the first of its models."""
    setting = wildcards.setting
    name = f"{STUDY.models_of(setting)[0]}/{setting}" if STUDY.several else setting
    return f"{OUT}/packed/{name}/record.json"


def rate_flag(wildcards):
    rate = names_of(wildcards).get("rate")
    return f"--rate {rate}" if rate else ""


def methods_with(artefact):
    """The study's methods whose trained cells hold `adapter/`, or `model/`."""
    return [n for n, method in STUDY.methods.items() if method.artefact == artefact]


def trained(wildcards):
    """The record of the cell's weights; nothing for the untouched model."""
    folder = cells.folder(STUDY, wildcards.cell)
    return f"{OUT}/{folder}/record.json" if folder else []


def kept(artefact):
    """The weights of a cell as an output, where the study keeps them."""
    folder = f"{OUT}/train/{{on}}{{setting}}/{{method}}/{{budget}}/{{grid}}s{{seed}}"
    return {"weights": directory(f"{folder}/{artefact}")} if STUDY.keep_weights else {}


def again(wildcards):
    """The command that gives a trained cell its weights back where they were not kept."""
    cell = cells.weights_of(STUDY, wildcards.cell)
    if cell is None:
        return ""
    packed, out = f"{OUT}/packed/{cell.packed}", f"{OUT}/train/{cell.label}"
    base = f"{OUT}/models/{cells.model_of(STUDY, cell.label)}"
    return (
        f"test -d {out}/{STUDY.methods[cell.method].artefact} || python -m lora_ledger.stages._weights "
        f'--study "$LEDGER_STUDY" --cell {cell.label} --model {base} --data {packed} --out {out} '
        f"--work {WORK}/train/{cell.label} --starts {WORK}/starts;"
    )


def evaluation_mb(wildcards):
    """Memory of an evaluation, and of training where the cell has to be trained again."""
    cell, evaluating = cells.weights_of(STUDY, wildcards.cell), need.evaluate_mb(STUDY)
    if (
        STUDY.keep_weights
        or not cell
        or not staleness.without_weights(STUDY, Path(OUT), cell)
    ):
        return evaluating
    return max(evaluating, need.train_mb(STUDY, cell.setting, cell.method))


def permitted(wildcards):
    """The gate that a trained cell's corpus must pass before the cell is asked anything."""
    cell = cells.weights_of(STUDY, wildcards.cell)
    return ancient(f"{OUT}/gate/{cell.setting}.json") if cell else []


def trained_flag(wildcards):
    folder = cells.folder(STUDY, wildcards.cell)
    return f"--trained {OUT}/{folder}" if folder else ""


def gate_of(wildcards):
    """The gate that a setting's corpus must pass before anything is trained on it."""
    # Its age does not count: a task that is added later is checked, and re-trains nothing.
    return ancient(f"{OUT}/gate/{wildcards.setting}.json")


def overlaps(wildcards):
    """The report on the setting's corpus and each run that its cells are scored on."""
    corpus = STUDY.settings[wildcards.setting].corpus
    return expand(
        f"{OUT}/contaminate/{corpus}/{{run}}.json",
        run=cells.gated(STUDY, wildcards.setting),
    )


def seed_flag(wildcards):
    found = cells.weights_of(STUDY, wildcards.cell)
    return found.seed if found else STUDY.seeds[0]


def selected(wildcards):
    """The selection that decides the cell's rate; nothing where the study gives the rate."""
    chosen = rates.selection(STUDY, wildcards.setting, wildcards.method)
    if not chosen:
        return []
    path = f"{OUT}/select/{chosen[0]}/{chosen[1]}.json"
    # A selection that was made again and chose the same rate trains nothing. Its age counts as soon
    # as anything else does not fit: behind an `ancient` edge a job's other reasons are not looked at.
    fits = staleness.trained_as_asked(STUDY, Path(OUT), names_of(wildcards))
    return ancient(path) if fits else path


def left(wildcards):
    """The record of the trunk that a branch goes on from; nothing for a run of its own."""
    if STUDY.budgets[wildcards.budget].trunk is None:
        return []
    return f"{OUT}/trunk/{cells.label_of(**names_of(wildcards))}.json"


def parent(wildcards):
    """The label of the cell whose run a branch leaves."""
    trunk = STUDY.budgets[wildcards.budget].trunk
    return cells.label_of(**{**names_of(wildcards), "budget": trunk})


def task_data(wildcards):
    name = wildcards.get("run") or wildcards.task
    return f"{OUT}/data/{cells.corpus_of(STUDY, name)}/record.json"


def evaluations_data(wildcards):
    """The corpora of all that a cell is asked."""
    names = [*cells.generate_runs(STUDY, wildcards.cell), *cells.retained(STUDY)]
    corpora = dict.fromkeys(cells.corpus_of(STUDY, name) for name in names)
    return [f"{OUT}/data/{corpus}/record.json" for corpus in corpora]


def evaluations_flags(wildcards):
    """Each evaluation with its corpus and its files."""
    cell, flags = wildcards.cell, []
    for run in cells.generate_runs(STUDY, cell):
        data, made = cells.corpus_of(STUDY, run), f"{OUT}/generate/{run}/{cell}"
        flags.append(f"--generate {run} {OUT}/data/{data} {made}.jsonl.gz {made}.json")
    for task in cells.retained(STUDY):
        data, made = cells.corpus_of(STUDY, task), f"{OUT}/retain/{task}/{cell}"
        items = f" {made}.items.csv.gz" if task in STUDY.evaluation.likelihood else ""
        flags.append(f"--retain {task} {OUT}/data/{data} {made}.json{items}")
    return flags


def one_of(names):
    """A pattern for a wildcard that is one of these names; of none, one that nothing matches."""
    return "|".join(names) or "(?!)"


def local_files(wildcards):
    """The user's own files behind a catalogue entry, so that an edit re-runs what reads them."""
    names = dict(wildcards)
    entry = names.get("model") or names.get("corpus") or ""
    return sources.local_files(STUDY, entry=entry, other=names.get("other", ""))


onstart:
    try:
        wanted = check_available(sources.sources(STUDY, Path(OUT)))
    except SourceError as error:
        raise WorkflowError(
            f"nothing was started, since sources are missing:\n{error}"
        ) from None
    for line in wanted:
        print(f"To fetch: {line}")


if workflow.is_main_process:
    for base in planning.bases(STUDY, Path(OUT)):
        print(
            f"{base.name} is {base.what}, which is not there: {base.remedy}",
            file=sys.stderr,
        )


if workflow.is_main_process and not STUDY.keep_weights:
    missing = staleness.to_train_again(STUDY, Path(OUT))
    if missing:
        print(
            f"{len(missing)} cells are asked something new and are trained again, since their "
            f"weights were not kept: {', '.join(missing[:3])}{' …' if missing[3:] else ''}. "
            "`keep_weights: true` in the study keeps them.",
            file=sys.stderr,
        )
