# What a training corpus holds of the tasks that its cells are asked, and whether it may be trained on.
# in: data/<corpus>/    out: contaminate/<corpus>/<run>.json, gate/<setting>.json


rule contaminate:
    input:
        data=f"{OUT}/data/{{corpus}}/record.json",
        task=task_data,
    output:
        record=f"{OUT}/contaminate/{{corpus}}/{{run}}.json",
    log:
        f"{LOG}/contaminate/{{corpus}}/{{run}}.log",
    benchmark:
        f"{LOG}/contaminate/{{corpus}}/{{run}}.tsv"
    wildcard_constraints:
        corpus="[a-z0-9-]+",
    conda:
        "../../envs/tools.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        disk_mb=200,
        runtime=240,
    params:
        **digests("contaminate"),
        data=subpath(input.data, parent=True),
        task=subpath(input.task, parent=True),
    message:
        "contaminate: {wildcards.run} in {wildcards.corpus}"
    shell:
        """
        python -m lora_ledger.stages.contaminate \
            --study "$LEDGER_STUDY" \
            --corpus {wildcards.corpus} \
            --run {wildcards.run} \
            --data {params.data:q} \
            --task-data {params.task:q} \
            --out {output.record:q} \
            > {log:q} 2>&1
        """


rule gate:
    input:
        reports=overlaps,
    output:
        record=f"{OUT}/gate/{{setting}}.json",
    log:
        f"{LOG}/gate/{{setting}}.log",
    benchmark:
        f"{LOG}/gate/{{setting}}.tsv"
    conda:
        "../../envs/tools.yaml"
    threads: 1
    resources:
        mem_mb=500,
        disk_mb=200,
        runtime=30,
    params:
        **digests("gate"),
    message:
        "gate: may {wildcards.setting} be trained?"
    shell:
        """
        python -m lora_ledger.stages.gate \
            --setting {wildcards.setting} \
            --out {output.record:q} \
            --reports {input.reports:q} \
            > {log:q} 2>&1
        """
