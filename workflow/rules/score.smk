# What the completions are worth.
# in: generate/<run>/<cell>, data/<corpus>/    out: score/<run>/<cell>


rule score:
    input:
        data=task_data,
        generations=f"{OUT}/generate/{{run}}/{{cell}}.jsonl.gz",
        record=f"{OUT}/generate/{{run}}/{{cell}}.json",
    output:
        record=f"{OUT}/score/{{run}}/{{cell}}.json",
        table=f"{OUT}/score/{{run}}/{{cell}}.items.csv.gz",
    log:
        f"{LOG}/score/{{run}}/{{cell}}.log",
    benchmark:
        f"{LOG}/score/{{run}}/{{cell}}.tsv"
    conda:
        "../../envs/tools.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        disk_mb=500,
        runtime=need.EVALUATE_MINUTES,
    params:
        **digests("score"),
        data=subpath(input.data, parent=True),
        work=f"{WORK}/proofs",
    message:
        "score {wildcards.run} of {wildcards.cell}"
    shell:
        """
        python -m lora_ledger.stages.score \
            --study "$LEDGER_STUDY" \
            --run {wildcards.run} \
            --cell {wildcards.cell} \
            --data {params.data:q} \
            --generations {input.generations:q} \
            --record {input.record:q} \
            --jobs {threads} \
            --work {params.work:q} \
            --out {output.record:q} \
            --items {output.table:q} \
            > {log:q} 2>&1
        """
