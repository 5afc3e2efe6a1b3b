# Token ids of a setting: blocks of text, or prompts with their responses.
# in: data/<corpus>/, the tokenizer of models/<model>/    out: packed/<setting>/
# `on` is `<model>/` in a study of several models, else empty.


rule prepare:
    input:
        data=lambda w: f"{OUT}/data/{STUDY.settings[w.setting].corpus}/record.json",
        model=model,
    output:
        record=f"{OUT}/packed/{{on}}{{setting}}/record.json",
        train=directory(f"{OUT}/packed/{{on}}{{setting}}/train"),
        validation=directory(f"{OUT}/packed/{{on}}{{setting}}/validation"),
    log:
        f"{LOG}/prepare/{{on}}{{setting}}.log",
    benchmark:
        f"{LOG}/prepare/{{on}}{{setting}}.tsv"
    conda:
        "../../envs/tools.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        disk_mb=lambda w: need.packed_mb(STUDY, w.setting),
        runtime=240,
    params:
        code=lambda w: staleness.code(STUDY, "prepare", **names_of(w)),
        science=lambda w: staleness.science(STUDY, "prepare", **names_of(w)),
        data=subpath(input.data, parent=True),
        model=subpath(input.model, parent=True),
        name=name_flag,
        out=subpath(output.record, parent=True),
    message:
        "prepare {wildcards.on}{wildcards.setting}"
    shell:
        """
        python -m lora_ledger.stages.prepare \
            --study "$LEDGER_STUDY" \
            --setting {wildcards.setting} \
            --model {params.model:q} \
            {params.name} \
            --data {params.data:q} \
            --out {params.out:q} \
            > {log:q} 2>&1
        """
