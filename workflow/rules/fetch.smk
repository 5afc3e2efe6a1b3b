# What the catalogue names, from the cache, the mirror or upstream.
# in: nothing of the workflow    out: models/<model>/, data/<corpus>/


rule fetch_model:
    input:
        local=local_files,
    output:
        record=f"{OUT}/models/{{model}}/record.json",
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
    params:
        **digests("fetch"),
        out=subpath(output.record, parent=True),
    message:
        "fetch model {wildcards.model}"
    shell:
        """
        python -m lora_ledger.fetch \
            --study "$LEDGER_STUDY" \
            --model {wildcards.model} \
            --out {params.out:q} \
            > {log:q} 2>&1
        """


rule fetch_corpus:
    input:
        local=local_files,
    output:
        record=f"{OUT}/data/{{corpus}}/record.json",
    log:
        f"{LOG}/fetch/{{corpus}}.log",
    benchmark:
        f"{LOG}/fetch/{{corpus}}.tsv"
    retries: 1
    conda:
        "../../envs/tools.yaml"
    threads: 1
    resources:
        mem_mb=1500,
    params:
        **digests("fetch"),
        out=subpath(output.record, parent=True),
    message:
        "fetch corpus {wildcards.corpus}"
    shell:
        """
        python -m lora_ledger.fetch \
            --study "$LEDGER_STUDY" \
            --corpus {wildcards.corpus} \
            --out {params.out:q} \
            > {log:q} 2>&1
        """
