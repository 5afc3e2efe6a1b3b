# Tables and figures from all records of the study.
# in: every record    out: tables/, figures/


rule tabulate:
    input:
        # A setting that its gate refuses has no tables, whatever an earlier run left.
        gate=[f"{OUT}/gate/{setting}.json" for setting in STUDY.settings],
        records=[f"{OUT}/{name}.json" for name in cells.records(STUDY)],
    output:
        record=f"{OUT}/tables/record.json",
        tables=expand(
            f"{OUT}/tables/{{table}}.{{form}}",
            table=cells.tables(STUDY),
            form=["csv", "md", "tex"],
        ),
    log:
        f"{LOG}/tabulate.log",
    benchmark:
        f"{LOG}/tabulate.tsv"
    conda:
        "../../envs/tools.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        disk_mb=200,
        runtime=120,
    params:
        **digests("tabulate"),
        out=subpath(output.record, parent=True),
    message:
        "tabulate"
    shell:
        """
        python -m lora_ledger.stages.tabulate \
            --study "$LEDGER_STUDY" \
            --records - \
            --out {params.out:q} \
            > {log:q} 2>&1 <<< "{input.records:q}"
        """


rule figures:
    input:
        record=rules.tabulate.output.record,
        tables=rules.tabulate.output.tables,
    output:
        record=f"{OUT}/figures/record.json",
        figures=expand(
            f"{OUT}/figures/{{name}}.{{form}}",
            name=cells.figures(STUDY),
            form=["svg", "png"],
        ),
    log:
        f"{LOG}/figures.log",
    benchmark:
        f"{LOG}/figures.tsv"
    conda:
        "../../envs/tools.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        disk_mb=200,
        runtime=120,
    params:
        **digests("figures"),
        out=subpath(output.record, parent=True),
        tables=subpath(input.record, parent=True),
    message:
        "figures"
    shell:
        """
        python -m lora_ledger.stages.figures \
            --study "$LEDGER_STUDY" \
            --tables {params.tables:q} \
            --out {params.out:q} \
            > {log:q} 2>&1
        """


rule results:
    input:
        rules.tabulate.output,
        rules.figures.output,
        decided=[f"{OUT}/claims/{name}.json" for name in STUDY.decisions],
        released=[
            f"{WORK}/released/{cell.label}.done"
            for cell in cells.cells(STUDY)
            if not STUDY.keep_weights
        ],
        branched=[f"{WORK}/branched/{trunk}.done" for trunk in cells.branches(STUDY)],


onsuccess:
    print(
        f"Tables: {OUT}/tables   figures: {OUT}/figures   to read them here: ledger show --study {STUDY_FILE}"
    )


onerror:
    print(
        f"Something failed; its log is below {LOG}. The same command goes on where this one stopped."
    )
