# Verdicts on claims, by the rules of the study's `decisions`.
# in: every record    out: claims/


rule decide:
    input:
        gate=[f"{OUT}/gate/{setting}.json" for setting in STUDY.settings],
        records=[f"{OUT}/{name}.json" for name in cells.records(STUDY)],
    output:
        records=expand(f"{OUT}/claims/{{decision}}.json", decision=STUDY.decisions),
        table=f"{OUT}/claims/claims.csv",
        forms=expand(f"{OUT}/claims/claims.{{form}}", form=["md", "tex"]),
    log:
        f"{LOG}/decide.log",
    benchmark:
        f"{LOG}/decide.tsv"
    conda:
        "../../envs/tools.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        disk_mb=200,
        runtime=120,
    params:
        **digests("decide"),
        out=subpath(output.table, parent=True),
    message:
        "decide"
    shell:
        """
        python -m lora_ledger.stages.decide \
            --study "$LEDGER_STUDY" \
            --records - \
            --out {params.out:q} \
            > {log:q} 2>&1 <<< "{input.records:q}"
        """
