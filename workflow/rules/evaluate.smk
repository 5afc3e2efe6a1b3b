# All that a cell is asked, by one process that loads its weights once: instead of generate and retain
# where the study says `evaluate_together`. The same files, each with a record of its own.
# in: models/<model>/, train/<cell>/, data/<corpus>/    out: generate/<run>/<cell>, retain/<task>/<cell>
# If one of them is missing or out of date, all that the cell was asked is asked again.

# A rule has a fixed number of outputs, so there is one for each kind of cell: the base, each of
# somebody else's models, the cells of each setting.
for number, (runs, pattern) in enumerate(cells.asked_alike(STUDY)):

    rule:
        name:
            f"evaluate_{number}"
        input:
            data=evaluations_data,
            gate=permitted,
            model=model,
            trained=trained,
        output:
            generations=[f"{OUT}/generate/{run}/{{cell}}.jsonl.gz" for run in runs],
            generated=[f"{OUT}/generate/{run}/{{cell}}.json" for run in runs],
            retained=[
                f"{OUT}/retain/{task}/{{cell}}.json" for task in cells.retained(STUDY)
            ],
            tables=[
                f"{OUT}/retain/{task}/{{cell}}.items.csv.gz"
                for task in STUDY.evaluation.likelihood
            ],
        log:
            f"{LOG}/evaluate/{{cell}}.log",
        benchmark:
            f"{LOG}/evaluate/{{cell}}.tsv"
        wildcard_constraints:
            cell=pattern,
        conda:
            "../../envs/model.yaml"
        threads: THREADS
        resources:
            mem_mb=evaluation_mb,
            disk_mb=500,
            runtime=need.EVALUATE_MINUTES,
            gpu=GPU,
        params:
            **digests("evaluate"),
            flags=evaluations_flags,
            model=subpath(input.model, parent=True),
            trained=trained_flag,
            again=again,
        message:
            "evaluate {wildcards.cell}"
        shell:
            """
            ( {params.again} python -m lora_ledger.stages.evaluate \
                --study "$LEDGER_STUDY" \
                --cell {wildcards.cell} \
                --model {params.model:q} \
                {params.trained} \
                {params.flags} \
                ) > {log:q} 2>&1
            """
