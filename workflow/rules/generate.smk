# What a cell answers to the prompts of its target tasks, each task by a process of its own.
# in: models/<model>/, train/<cell>/, data/<corpus>/    out: generate/<run>/<cell>


rule generate:
    input:
        data=task_data,
        gate=permitted,
        model=model,
        trained=trained,
    output:
        generations=f"{OUT}/generate/{{run}}/{{cell}}.jsonl.gz",
        record=f"{OUT}/generate/{{run}}/{{cell}}.json",
    log:
        f"{LOG}/generate/{{run}}/{{cell}}.log",
    benchmark:
        f"{LOG}/generate/{{run}}/{{cell}}.tsv"
    conda:
        "../../envs/model.yaml"
    threads: THREADS
    resources:
        mem_mb=evaluation_mb,
        disk_mb=500,
        runtime=need.EVALUATE_MINUTES,
        gpu=GPU,
    params:
        **digests("generate"),
        data=subpath(input.data, parent=True),
        model=subpath(input.model, parent=True),
        seed=seed_flag,
        trained=trained_flag,
        again=again,
    message:
        "generate {wildcards.run} for {wildcards.cell}"
    shell:
        """
        ( {params.again} python -m lora_ledger.stages.generate \
            --study "$LEDGER_STUDY" \
            --run {wildcards.run} \
            --cell {wildcards.cell} \
            --seed {params.seed} \
            --model {params.model:q} \
            {params.trained} \
            --data {params.data:q} \
            --out {output.generations:q} \
            --record {output.record:q} \
            ) > {log:q} 2>&1
        """
