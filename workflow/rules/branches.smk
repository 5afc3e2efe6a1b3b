# Budgets that branch off the run of a longer one (`from`).
# in: train/<trunk's cell>/    out: trunk/<branch's cell>.json; the checkpoint that the branch goes on
# from stands in work/, as all checkpoints do
# The longer run leaves its state where branches leave it, in work/<study>/trunk/<its cell>/, and the
# job takes the state over. For a branch that is added later it trains to that point, once for all of
# them: the jobs of one trunk wait for one another.


rule trunk:
    input:
        data=f"{OUT}/packed/{{on}}{{setting}}/record.json",
        model=model,
        record=lambda w: f"{OUT}/train/{parent(w)}/record.json",
    output:
        record=f"{OUT}/trunk/{{on}}{{setting}}/{{method}}/{{budget}}/{{grid}}s{{seed}}.json",
    log:
        f"{LOG}/trunk/{{on}}{{setting}}/{{method}}/{{budget}}/{{grid}}s{{seed}}.log",
    benchmark:
        f"{LOG}/trunk/{{on}}{{setting}}/{{method}}/{{budget}}/{{grid}}s{{seed}}.tsv"
    wildcard_constraints:
        budget=one_of([n for n, one in STUDY.budgets.items() if one.trunk]),
    conda:
        "../../envs/model.yaml"
    threads: THREADS
    resources:
        mem_mb=lambda w: need.train_mb(STUDY, w.setting, w.method),
        disk_mb=lambda w: need.trunk_disk_mb(STUDY, w.setting, w.method),
        runtime=need.TRAIN_MINUTES,
        gpu=GPU,
    params:
        code=lambda w: staleness.code(STUDY, "trunk", **names_of(w)),
        science=lambda w: staleness.science(STUDY, "trunk", **names_of(w)),
        cell=lambda w: cells.label_of(**names_of(w)),
        data=subpath(input.data, parent=True),
        model=subpath(input.model, parent=True),
        leave=lambda w: f"{WORK}/trunk/{parent(w)}",
        starts=f"{WORK}/starts",
        work=f"{WORK}/train/{{on}}{{setting}}/{{method}}/{{budget}}/{{grid}}s{{seed}}",
    message:
        "trunk of {params.cell}"
    shell:
        """
        python -m lora_ledger.stages.trunk \
            --study "$LEDGER_STUDY" \
            --cell {params.cell} \
            --model {params.model:q} \
            --data {params.data:q} \
            --record {input.record:q} \
            --leave {params.leave:q} \
            --work {params.work:q} \
            --starts {params.starts:q} \
            --out {output.record:q} \
            > {log:q} 2>&1
        """


# What a longer run left goes when all its branches are trained.
rule release_trunk:
    input:
        lambda w: [
            f"{OUT}/train/{one.label}/record.json"
            for one in cells.branches(STUDY)[f"{w.trunk}/{w.grid}s{w.seed}"]
        ],
    output:
        touch(f"{WORK}/branched/{{trunk}}/{{grid}}s{{seed}}.done"),
    log:
        f"{LOG}/branched/{{trunk}}/{{grid}}s{{seed}}.log",
    wildcard_constraints:
        trunk="([a-z0-9-]+/)?[a-z0-9-]+/[a-z0-9-]+/[a-z0-9-]+",
    priority: 100
    conda:
        "../../envs/tools.yaml"
    threads: 1
    resources:
        mem_mb=50,
        disk_mb=1,
        runtime=10,
    params:
        left=f"{WORK}/trunk/{{trunk}}/{{grid}}s{{seed}}",
    message:
        "release what {params.left} held for branches"
    shell:
        "rm -rf {params.left:q} > {log:q} 2>&1"


localrules:
    release_trunk,
