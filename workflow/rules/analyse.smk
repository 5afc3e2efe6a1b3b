# What the generations show beyond their score.
# in: generate/<run>/<cell>, score/<run>/<cell>    out: diversity/<run>/<cell>


rule diversity:
    input:
        generations=f"{OUT}/generate/{{run}}/{{cell}}.jsonl.gz",
        generate=f"{OUT}/generate/{{run}}/{{cell}}.json",
        table=f"{OUT}/score/{{run}}/{{cell}}.items.csv.gz",
        score=f"{OUT}/score/{{run}}/{{cell}}.json",
    output:
        record=f"{OUT}/diversity/{{run}}/{{cell}}.json",
    log:
        f"{LOG}/diversity/{{run}}/{{cell}}.log",
    benchmark:
        f"{LOG}/diversity/{{run}}/{{cell}}.tsv"
    conda:
        "../../envs/tools.yaml"
    threads: 1
    resources:
        mem_mb=500,
        disk_mb=200,
        runtime=60,
    params:
        **digests("diversity"),
    message:
        "diversity of {wildcards.run} for {wildcards.cell}"
    shell:
        """
        python -m lora_ledger.stages.diversity \
            --study "$LEDGER_STUDY" \
            --cell {wildcards.cell} \
            --run {wildcards.run} \
            --generations {input.generations:q} \
            --generate-record {input.generate:q} \
            --score-items {input.table:q} \
            --score-record {input.score:q} \
            --out {output.record:q} \
            > {log:q} 2>&1
        """
