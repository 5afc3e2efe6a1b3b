# Spectra of what training changed, and how alike the changes of two cells are.
# in: models/<model>/, train/<cell>/    out: spectrum/<cell>, subspaces/<setting>
# The base's decompositions are kept in work/, which no rule declares; the base's own job makes them,
# and the others wait for it.


rule spectrum:
    input:
        gate=permitted,
        model=model,
        trained=trained,
        base=lambda w: (
            []
            if cells.is_base(w.cell)
            else ancient(f"{OUT}/spectrum/{cells.base_of(STUDY, w.cell)}.json")
        ),
    output:
        record=f"{OUT}/spectrum/{{cell}}.json",
        table=f"{OUT}/spectrum/{{cell}}.csv.gz",
        vectors=f"{OUT}/spectrum/{{cell}}.safetensors",
    log:
        f"{LOG}/spectrum/{{cell}}.log",
    benchmark:
        f"{LOG}/spectrum/{{cell}}.tsv"
    conda:
        "../../envs/model.yaml"
    threads: THREADS
    resources:
        mem_mb=lambda w: need.spectrum_mb(STUDY),
        disk_mb=lambda w: need.spectrum_disk_mb(STUDY),
        runtime=need.EVALUATE_MINUTES,
    params:
        **digests("spectrum"),
        model=subpath(input.model, parent=True),
        trained=trained_flag,
        again=again,
        work=f"{WORK}/decompositions",
    message:
        "spectrum of {wildcards.cell}"
    shell:
        """
        ( {params.again} python -m lora_ledger.stages.spectrum \
            --study "$LEDGER_STUDY" \
            --cell {wildcards.cell} \
            --model {params.model:q} \
            {params.trained} \
            --work {params.work:q} \
            --out {output.record:q} \
            --table {output.table:q} \
            --vectors {output.vectors:q} \
            ) > {log:q} 2>&1
        """


rule subspaces:
    input:
        records=lambda w: expand(
            f"{OUT}/spectrum/{{cell}}.json",
            cell=dict.fromkeys(sum(cells.compared(STUDY, w.setting), ())),
        ),
    output:
        record=f"{OUT}/subspaces/{{setting}}.json",
    log:
        f"{LOG}/subspaces/{{setting}}.log",
    benchmark:
        f"{LOG}/subspaces/{{setting}}.tsv"
    conda:
        "../../envs/tools.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        disk_mb=100,
        runtime=60,
    params:
        **digests("subspaces"),
    message:
        "subspaces of {wildcards.setting}"
    shell:
        """
        python -m lora_ledger.stages.subspaces \
            --study "$LEDGER_STUDY" \
            --setting {wildcards.setting} \
            --records {input.records:q} \
            --out {output.record:q} \
            > {log:q} 2>&1
        """
