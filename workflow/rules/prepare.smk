# Token ids of a setting: blocks of text, or prompts with their responses.
# in: data/<corpus>/, the tokenizer of models/<model>/    out: packed/<setting>/


rule prepare:
    input:
        data=lambda w: f"{OUT}/data/{STUDY.settings[w.setting].corpus}/record.json",
        model=f"{MODEL}/record.json",
    output:
        record=f"{OUT}/packed/{{setting}}/record.json",
        train=directory(f"{OUT}/packed/{{setting}}/train"),
        validation=directory(f"{OUT}/packed/{{setting}}/validation"),
    log:
        f"{LOG}/prepare/{{setting}}.log",
    benchmark:
        f"{LOG}/prepare/{{setting}}.tsv"
    conda:
        "../../envs/tools.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        disk_mb=lambda w: need.packed_mb(STUDY, w.setting),
        runtime=240,
    params:
        **digests("prepare"),
        data=subpath(input.data, parent=True),
        model=subpath(input.model, parent=True),
        out=subpath(output.record, parent=True),
    message:
        "prepare {wildcards.setting}"
    shell:
        """
        python -m lora_ledger.stages.prepare \
            --study "$LEDGER_STUDY" \
            --setting {wildcards.setting} \
            --model {params.model:q} \
            --data {params.data:q} \
            --out {params.out:q} \
            > {log:q} 2>&1
        """
