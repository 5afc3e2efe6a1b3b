# What a cell has kept of the source domain: each text and each task by itself.
# in: models/<model>/, train/<cell>/, data/<corpus>/    out: retain/<task>/<cell>


rule retain:
    input:
        data=task_data,
        gate=permitted,
        model=model,
        trained=trained,
    output:
        record=f"{OUT}/retain/{{task}}/{{cell}}.json",
        table=f"{OUT}/retain/{{task}}/{{cell}}.items.csv.gz",
    log:
        f"{LOG}/retain/{{task}}/{{cell}}.log",
    benchmark:
        f"{LOG}/retain/{{task}}/{{cell}}.tsv"
    wildcard_constraints:
        task=one_of(STUDY.evaluation.likelihood),
    conda:
        "../../envs/model.yaml"
    threads: THREADS
    resources:
        mem_mb=evaluation_mb,
        disk_mb=500,
        runtime=need.EVALUATE_MINUTES,
        gpu=GPU,
    params:
        **digests("retain"),
        data=subpath(input.data, parent=True),
        items_flag=lambda w, output: (
            f"--items {output.table}" if "table" in output.keys() else ""
        ),
        model=subpath(input.model, parent=True),
        trained=trained_flag,
        again=again,
    message:
        "retain {wildcards.task} of {wildcards.cell}"
    shell:
        """
        ( {params.again} python -m lora_ledger.stages.retain \
            --study "$LEDGER_STUDY" \
            --task {wildcards.task} \
            --cell {wildcards.cell} \
            --model {params.model:q} \
            {params.trained} \
            --data {params.data:q} \
            --out {output.record:q} \
            {params.items_flag} \
            ) > {log:q} 2>&1
        """


# Only a task of likelihoods has items.
use rule retain as retain_text with:
    output:
        record=f"{OUT}/retain/{{task}}/{{cell}}.json",
    wildcard_constraints:
        task=one_of(
            [
                task
                for task in cells.retained(STUDY)
                if task not in STUDY.evaluation.likelihood
            ]
        ),
