# Every cell is trained.
# in: packed/<setting>/, models/<model>/, select/<setting>/    out: train/<cell>/
# `on` is `<model>/` in a study of several models, else empty.
# `grid` is `lr-<rate>/` where a setting reports every rate of its grids, else empty.
# A killed job resumes from work/, which no rule declares, since Snakemake deletes the outputs of a
# failed job.


rule train:
    input:
        data=f"{OUT}/packed/{{on}}{{setting}}/record.json",
        gate=gate_of,
        model=model,
        select=selected,
        trunk=left,
    output:
        **kept("adapter"),
        record=f"{OUT}/train/{{on}}{{setting}}/{{method}}/{{budget}}/{{grid}}s{{seed}}/record.json",
    log:
        f"{LOG}/train/{{on}}{{setting}}/{{method}}/{{budget}}/{{grid}}s{{seed}}.log",
    benchmark:
        f"{LOG}/train/{{on}}{{setting}}/{{method}}/{{budget}}/{{grid}}s{{seed}}.tsv"
    wildcard_constraints:
        method=one_of(methods_with("adapter")),
    conda:
        "../../envs/model.yaml"
    threads: THREADS
    resources:
        mem_mb=lambda w: need.train_mb(STUDY, w.setting, w.method),
        disk_mb=lambda w: need.trunk_disk_mb(STUDY, w.setting, w.method),
        runtime=need.TRAIN_MINUTES,
        gpu=GPU,
    params:
        code=lambda w: staleness.code(STUDY, "train", **names_of(w)),
        science=lambda w: staleness.training(STUDY, Path(OUT), names_of(w)),
        data=subpath(input.data, parent=True),
        model=subpath(input.model, parent=True),
        out=subpath(output.record, parent=True),
        rate=lambda w, input: (
            f"--select {input.select}" if input.select else rate_flag(w)
        ),
        name=name_flag,
        leave=lambda w, input: (
            f"--trunk {input.trunk}"
            if input.trunk
            else f"--leave {WORK}/trunk/{cells.label_of(**names_of(w))}"
        ),
        starts=f"{WORK}/starts",
        work=f"{WORK}/train/{{on}}{{setting}}/{{method}}/{{budget}}/{{grid}}s{{seed}}",
    message:
        "train {wildcards.on}{wildcards.setting} {wildcards.method} {wildcards.budget} {wildcards.grid}s{wildcards.seed}"
    shell:
        """
        python -m lora_ledger.stages.train \
            --study "$LEDGER_STUDY" \
            --setting {wildcards.setting} \
            --method {wildcards.method} \
            --budget {wildcards.budget} \
            --seed {wildcards.seed} \
            --model {params.model:q} \
            {params.name} \
            --data {params.data:q} \
            {params.rate} \
            {params.leave} \
            --work {params.work:q} \
            --starts {params.starts:q} \
            --out {params.out:q} \
            > {log:q} 2>&1
        """


# What trains the base's own weights leaves a model. One that diverged leaves an empty folder.
use rule train as train_model with:
    output:
        **kept("model"),
        record=f"{OUT}/train/{{on}}{{setting}}/{{method}}/{{budget}}/{{grid}}s{{seed}}/record.json",
    wildcard_constraints:
        method=one_of(methods_with("model")),


# Weights go when all that their cell is asked has been answered; what a cell is asked later trains
# it again (`again` in common.smk), and no record is written anew.
rule release:
    input:
        lambda w: [f"{OUT}/{path}.json" for path in cells.evaluations(STUDY, w.cell)],
    output:
        touch(f"{WORK}/released/{{cell}}.done"),
    log:
        f"{LOG}/release/{{cell}}.log",
    priority: 100
    conda:
        "../../envs/tools.yaml"
    threads: 1
    resources:
        mem_mb=50,
        disk_mb=1,
        runtime=10,
    params:
        weights=lambda w: [
            f"{OUT}/train/{w.cell}/{name}" for name in ("adapter", "model")
        ],
    message:
        "release the weights of {wildcards.cell}"
    shell:
        "rm -rf {params.weights:q} > {log:q} 2>&1"


localrules:
    release,
