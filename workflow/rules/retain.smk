# What a cell has kept of the source domain.
# in: models/<model>/, train/<cell>/, data/<corpus>/    out: retain/<cell>


rule retain:
    input:
        data=[
            f"{OUT}/data/{c}/record.json"
            for c in sorted({*RETAINED.values(), *CHOSEN.values()})
        ],
        gate=permitted,
        model=f"{MODEL}/record.json",
        trained=trained,
    output:
        record=f"{OUT}/retain/{{cell}}.json",
        table=f"{OUT}/retain/{{cell}}.items.csv.gz",
    log:
        f"{LOG}/retain/{{cell}}.log",
    benchmark:
        f"{LOG}/retain/{{cell}}.tsv"
    conda:
        "../../envs/model.yaml"
    threads: THREADS
    resources:
        mem_mb=need.evaluate_mb(STUDY),
        gpu=GPU,
    params:
        **digests("retain"),
        choices=[f"--choices {name}={OUT}/data/{c}" for name, c in CHOSEN.items()],
        model=subpath(input.model, parent=True),
        texts=[f"--text {name}={OUT}/data/{c}" for name, c in RETAINED.items()],
        trained=trained_flag,
    message:
        "retain of {wildcards.cell}"
    shell:
        """
        python -m lora_ledger.stages.retain \
            --study "$LEDGER_STUDY" \
            --cell {wildcards.cell} \
            --model {params.model:q} \
            {params.trained} \
            {params.texts} \
            {params.choices} \
            --out {output.record:q} \
            --items {output.table:q} \
            > {log:q} 2>&1
        """
