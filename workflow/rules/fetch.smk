# What the catalogue names, from the cache, the mirror or upstream.
# in: nothing of the workflow    out: models/<model>/, data/<corpus>/, other/<other>/


rule fetch_model:
    input:
        local=local_files,
    output:
        record=f"{OUT}/models/{{model}}/record.json",
        config=f"{OUT}/models/{{model}}/config.json",
        tokenizer=f"{OUT}/models/{{model}}/tokenizer.json",
    log:
        f"{LOG}/fetch/{{model}}.log",
    benchmark:
        f"{LOG}/fetch/{{model}}.tsv"
    retries: 1
    conda:
        "../../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=need.fetch_model_mb(STUDY),
        disk_mb=need.model_disk_mb(STUDY),
        runtime=240,
    params:
        **digests("fetch"),
        out=subpath(output.record, parent=True),
    message:
        "fetch model {wildcards.model}"
    shell:
        """
        HF_HUB_OFFLINE=$LEDGER_HUB_OFFLINE python -m lora_ledger.stages.fetch \
            --study "$LEDGER_STUDY" \
            --model {wildcards.model} \
            --out {params.out:q} \
            > {log:q} 2>&1
        """


# One rule for each set of splits that a corpus may have, since each split is an output of its own.
for SPLITS in sorted(
    {tuple(STUDY.corpus_entry(name).splits) for name in sources.corpora(STUDY)}
):

    rule:
        name:
            f"fetch_corpus_{'_'.join(SPLITS)}"
        input:
            local=local_files,
        output:
            record=f"{OUT}/data/{{corpus}}/record.json",
            splits=[directory(f"{OUT}/data/{{corpus}}/{split}") for split in SPLITS],
        log:
            f"{LOG}/fetch/{{corpus}}.log",
        benchmark:
            f"{LOG}/fetch/{{corpus}}.tsv"
        wildcard_constraints:
            corpus=one_of(
                name
                for name in sources.corpora(STUDY)
                if tuple(STUDY.corpus_entry(name).splits) == SPLITS
            ),
        retries: 1
        conda:
            "../../envs/tools.yaml"
        threads: 1
        resources:
            mem_mb=lambda w: need.fetch_corpus_mb(STUDY, w.corpus),
            disk_mb=lambda w: need.fetch_corpus_mb(STUDY, w.corpus),
            runtime=240,
        params:
            **digests("fetch"),
            out=subpath(output.record, parent=True),
        message:
            "fetch corpus {wildcards.corpus}"
        shell:
            """
            HF_HUB_OFFLINE=$LEDGER_HUB_OFFLINE python -m lora_ledger.stages.fetch \
                --study "$LEDGER_STUDY" \
                --corpus {wildcards.corpus} \
                --out {params.out:q} \
                > {log:q} 2>&1
            """


rule fetch_other:
    input:
        local=local_files,
        model=model,
    output:
        record=f"{OUT}/other/{{other}}/record.json",
    log:
        f"{LOG}/fetch/other/{{other}}.log",
    benchmark:
        f"{LOG}/fetch/other/{{other}}.tsv"
    retries: 1
    conda:
        "../../envs/model.yaml"
    threads: 1
    resources:
        mem_mb=need.fetch_model_mb(STUDY),
        disk_mb=need.model_disk_mb(STUDY),
        runtime=240,
    params:
        **digests("fetch"),
        model=subpath(input.model, parent=True),
        out=subpath(output.record, parent=True),
    message:
        "fetch {wildcards.other}, somebody else's model"
    shell:
        """
        HF_HUB_OFFLINE=$LEDGER_HUB_OFFLINE python -m lora_ledger.stages.fetch \
            --study "$LEDGER_STUDY" \
            --other {wildcards.other} \
            --model {params.model:q} \
            --out {params.out:q} \
            > {log:q} 2>&1
        """


# Everything that comes from elsewhere, and nothing that is computed from it.
rule data:
    input:
        [f"{OUT}/models/{name}/record.json" for name in STUDY.model_names],
        [f"{OUT}/data/{name}/record.json" for name in sources.corpora(STUDY)],
