# Rates are chosen on the tuning seed: one short run for each rate, of which only the record is kept.
# Of several models the setting's first tunes for all.
# in: packed/<setting>/, models/<model>/    out: tune/<setting>/<method>/, select/<setting>/


rule tune:
    input:
        data=tuning_data,
        gate=gate_of,
        model=model,
    output:
        record=f"{OUT}/tune/{{setting}}/{{method}}/{{rate}}.json",
    log:
        f"{LOG}/tune/{{setting}}/{{method}}/{{rate}}.log",
    benchmark:
        f"{LOG}/tune/{{setting}}/{{method}}/{{rate}}.tsv"
    conda:
        "../../envs/model.yaml"
    threads: THREADS
    resources:
        mem_mb=lambda w: need.train_mb(STUDY, w.setting, w.method),
        disk_mb=lambda w: need.train_disk_mb(STUDY, w.method),
        runtime=need.TRAIN_MINUTES,
        gpu=GPU,
    params:
        **digests("tune"),
        data=subpath(input.data, parent=True),
        model=subpath(input.model, parent=True),
        starts=f"{WORK}/starts",
        work=f"{WORK}/tune/{{setting}}/{{method}}/{{rate}}",
    message:
        "tune {wildcards.setting} {wildcards.method}, rate {wildcards.rate}"
    shell:
        """
        python -m lora_ledger.stages.tune \
            --study "$LEDGER_STUDY" \
            --setting {wildcards.setting} \
            --method {wildcards.method} \
            --rate {wildcards.rate} \
            --model {params.model:q} \
            --data {params.data:q} \
            --work {params.work:q} \
            --starts {params.starts:q} \
            --out {output.record:q} \
            > {log:q} 2>&1
        """


rule select:
    input:
        tuned=lambda w: expand(
            f"{OUT}/tune/{w.setting}/{w.method}/{{rate}}.json",
            rate=map(rates.written, STUDY.rates_of(w.setting, w.method)),
        ),
    output:
        record=f"{OUT}/select/{{setting}}/{{method}}.json",
    log:
        f"{LOG}/select/{{setting}}/{{method}}.log",
    benchmark:
        f"{LOG}/select/{{setting}}/{{method}}.tsv"
    conda:
        "../../envs/tools.yaml"
    threads: 1
    resources:
        mem_mb=500,
        disk_mb=200,
        runtime=30,
    params:
        **digests("select"),
    message:
        "select the rate of {wildcards.setting} {wildcards.method}"
    shell:
        """
        python -m lora_ledger.stages.select \
            --setting {wildcards.setting} \
            --method {wildcards.method} \
            --out {output.record:q} \
            --tuned {input.tuned:q} \
            > {log:q} 2>&1
        """
